"""Installs tfalign, the library. The experiments and the tests stay in the repository.

A release has two wheels, which `make wheels` builds (docs/design/packaging.md says why): TFALIGN_WHEEL=light makes that
without TensorFlow, TFALIGN_WHEEL=tensorflow that of a plain `pip install tfalign`, whose extras jax and tpu lead to
the light one. Unset, as in a clone, there is TensorFlow, and extras add to it.
"""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tfalign/__init__.py").read_text())[1]
WHEEL = os.environ.get("TFALIGN_WHEEL", "")
if WHEEL not in ("", "light", "tensorflow"):
    raise ValueError(f"TFALIGN_WHEEL is light or tensorflow, or not set. Received: {WHEEL}")

REQUIRED = [
    "keras>=3.10,<3.16",
    "numpy<2.4",
    "gymnasium>=1.0",
    "absl-py>=2.1",
    "tokenizers>=0.20",
    "safetensors>=0.4.5",
    "jinja2>=3.1.6",
    "ml_dtypes>=0.4",
    "matplotlib>=3.8",
    "scipy>=1.11",
    "tensorboard>=2.19",  # which needs no TensorFlow
    "tqdm>=4.66",
    "typing_extensions>=4.1",
    "wrapt>=1.14",
    "pyyaml>=6",
]
TENSORFLOW = [
    "tensorflow>=2.19,<2.22",
    "tensorflow-datasets>=4.9.7",
    "importlib_resources",  # tensorflow-datasets uses it and does not declare it
]
# tf-agents pins a pygame that has no wheel for CPython 3.12
AGENTS = [
    "tf-agents==0.19.0; python_version < '3.12'",
    "tf_keras>=2.19,<2.22; python_version < '3.12'",
]
HUB = ["keras-hub>=0.20"]
SERVE = ["starlette>=0.40", "uvicorn>=0.30", "prometheus-client>=0.20"]
CONSTRAINTS = ["outlines-core>=0.2"]
TOOLS = ["docstring-parser>=0.16", "msgspec>=0.18"]
TPU = ["jax[tpu]>=0.10"]  # with the TPU compiler, libtpu, of 0.7 GB: part of no other extra
RAY = ["ray>=2.40"]
SACREBLEU = ["sacrebleu>=2.4"]
SEARCH = ["usearch>=2.16"]
DATASETS = ["pyarrow>=15", "datasets>=3"]
GCS = ["gcsfs>=2025.9"]
S3 = ["s3fs>=2025.9"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings[python]>=1.0,<2"]
TEST = [
    "flask-cors>=5",  # moto's server
    "httpx>=0.27",
    "hypothesis>=6.100",
    "jax>=0.4.35",
    "jsonschema>=4.20",
    "moto[s3]>=5",  # an S3 server on this machine
    "pytest>=8",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
    *S3,
]
EXTRAS = {
    "tensorflow": TENSORFLOW,
    "agents": TENSORFLOW + AGENTS,
    "jax": ["jax>=0.4.35"],
    "tpu": TPU,
    "hub": HUB,
    "gcs": GCS,
    "s3": S3,
    "serve": SERVE,
    "constraints": CONSTRAINTS,
    "tools": TOOLS,
    "ray": RAY,
    "translate": SACREBLEU,
    "applications": SACREBLEU,
    "search": SEARCH,
    "datasets": DATASETS,
    "docs": DOCS,
    "test": TEST,
    "all": [
        *TENSORFLOW,
        *(AGENTS + HUB + GCS + SERVE + CONSTRAINTS + TOOLS + RAY + SACREBLEU + SEARCH + DATASETS),
        *(TEST + DOCS),
    ],
}
if WHEEL == "tensorflow":  # not to be had with these extras: an installer takes the light wheel
    EXTRAS |= dict.fromkeys(("jax", "tpu"), [f"tfalign=={VERSION}"])

setup(
    name="tfalign",
    version=f"{VERSION}.post1" if WHEEL == "tensorflow" else VERSION,
    description="Reinforcement-learning alignment of language models in TensorFlow and Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["tfalign", "tfalign.*"]),
    package_data={"tfalign": ["py.typed", "data/*/checksums.tsv"]},
    entry_points={"console_scripts": ["tfalign = tfalign.cli:main"]},
    python_requires=">=3.10",
    install_requires=REQUIRED if WHEEL == "light" else TENSORFLOW + REQUIRED,
    extras_require=EXTRAS,
)
