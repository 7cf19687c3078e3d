"""tfalign: align language models with reinforcement learning, in TensorFlow and Keras 3.

    import tfalign

    model = tfalign.load("runs/demo/models/sft")
    model.generate("Customer: Where is my order 147?\\nAgent:")

Importing it imports neither Keras, TensorFlow nor Gymnasium; what is named below is imported when it is first
used. Once Gymnasium is imported, ``gymnasium.make("tfalign/TextGeneration-v0", ...)`` works.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from wrapt import when_imported

if TYPE_CHECKING:
    from tfalign.pretrained import Pretrained, load

__version__ = "0.1.0"

_HOMES = {"Pretrained": "pretrained", "load": "pretrained"}
_PACKAGES = (
    "backend",
    "data",
    "decoding",
    "environments",
    "evaluation",
    "functional",
    "interpretability",
    "language_models",
    "layers",
    "models",
    "objectives",
    "rewards",
    "serving",
    "text",
    "training",
    "types",
)

__all__ = ["Pretrained", "load", *_PACKAGES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


@when_imported("gymnasium.envs.registration")
def _register_environments(registration) -> None:
    registration.register(
        id="tfalign/TextGeneration-v0",
        entry_point="tfalign.environments.gymnasium_env:TextGenerationEnv",
        vector_entry_point="tfalign.environments.gymnasium_vector_env:TextGenerationVectorEnv",
    )
