"""An environment without TensorFlow: what a release's two wheels require, what says what is absent, and a run that is
begun there, goes on where TensorFlow is, and back."""

from __future__ import annotations

import json
import os
import pathlib
import runpy
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import setuptools

import tfalign
from tfalign import installed
from tfalign.data.readers.tfds import tfds_rows

ROOT = pathlib.Path(__file__).resolve().parent.parent
OF_TENSORFLOW = {"tensorflow", "tensorflow-datasets", "tf-agents", "tf_keras"}


def requirements_of(wheel, monkeypatch):
    """What setup.py hands to setuptools."""
    given = {}
    with monkeypatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
        patch.setenv("TFALIGN_WHEEL", wheel)
        runpy.run_path(str(ROOT / "setup.py"))
    return given


def names(requirements):
    return {
        requirement.split(";")[0].split("[")[0].strip("<>=.0123456789,")
        for requirement in requirements
    }


def test_one_wheel_requires_tensorflow_and_the_other_does_not(monkeypatch):
    clone, light, full = (requirements_of(w, monkeypatch) for w in ("", "light", "tensorflow"))
    assert names(full["install_requires"]) - names(light["install_requires"]) == {
        "tensorflow",
        "tensorflow-datasets",
        "importlib_resources",
    }
    assert clone["install_requires"] == full["install_requires"]
    with_it = {"tensorflow", "agents", "all"}
    for extra, requirements in light["extras_require"].items():
        assert bool(names(requirements) & OF_TENSORFLOW) == (extra in with_it), extra
    assert (clone["version"], light["version"]) == (tfalign.__version__,) * 2
    assert full["extras_require"]["jax"] == [f"tfalign=={light['version']}"]
    with pytest.raises(ValueError, match="Received: heavy"):
        requirements_of("heavy", monkeypatch)


def plain_wheel(folder, name, version, requires=(), extras=()):
    """A wheel that holds nothing but what it requires."""
    stem = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    about = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {"METADATA": "\n".join(lines) + "\n", "WHEEL": about, "RECORD": ""}
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(f"{stem}.dist-info/{file}", text)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A folder with tfalign's two wheels, and of all that they require a wheel that holds nothing."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    folder, required = tmp_path_factory.mktemp("index"), {}
    with pytest.MonkeyPatch.context() as patch:
        for wheel in ("light", "tensorflow"):
            given = requirements_of(wheel, patch)
            requires = list(given["install_requires"])
            for extra, more in given["extras_require"].items():
                parsed = map(Requirement, more)
                requires += [f'{one.name}{one.specifier}; extra == "{extra}"' for one in parsed]
            plain_wheel(folder, "tfalign", given["version"], requires, given["extras_require"])
            for one in map(Requirement, requires):
                least = {Version(s.version) for s in one.specifier if s.operator in (">=", "==")}
                required[one.name] = max({required.get(one.name, Version("1")), *least})
    for name in required.keys() - {"tfalign"}:
        plain_wheel(folder, name, required[name])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "has_tensorflow"),
    [
        ("tfalign", True),
        ("tfalign[serve]", True),
        ("tfalign[tensorflow]", True),
        ("tfalign[jax]", False),
        ("tfalign[tpu]", False),
        ("tfalign[jax,serve]", False),
    ],
)
def test_pip_takes_the_wheel_that_an_extra_leads_to(index, tmp_path, asked, has_tensorflow):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--quiet", "--no-index", f"--find-links={index}", f"--report={report}", asked]
    subprocess.run(command, check=True, env=os.environ | {"PIP_CONFIG_FILE": os.devnull})
    chosen = {one["metadata"]["name"] for one in json.loads(report.read_text())["install"]}
    assert ("tensorflow" in chosen) == has_tensorflow
    assert ("jax" in chosen) == (not has_tensorflow)


@pytest.mark.parametrize(
    ("said", "there", "chosen"),
    [
        (None, {"jax"}, "jax"),
        (None, {"jax", "tensorflow"}, None),
        (None, set(), None),
        ("tensorflow", {"jax"}, "tensorflow"),
    ],
)
def test_jax_is_chosen_where_there_is_no_tensorflow(monkeypatch, said, there, chosen):
    monkeypatch.setattr(installed, "is_installed", there.__contains__)
    monkeypatch.setenv("KERAS_BACKEND", said or "")
    if said is None:
        monkeypatch.delenv("KERAS_BACKEND")
    installed.choose_backend()
    assert os.environ.get("KERAS_BACKEND") == chosen


def test_what_needs_tensorflow_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert not installed.is_installed("tensorflow")
    with pytest.raises(
        ValueError, match=r'tfds:gsm8k needs .*: pip install "tfalign\[tensorflow\]"; a JSONL'
    ):
        next(tfds_rows("gsm8k:train", None))
    with pytest.raises(ModuleNotFoundError), installed.needing_tensorflow("This"):
        import no_such_module_anywhere  # noqa: F401


WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
TRAIN = """
import tfalign  # before Keras, whose backend it chooses
import keras

class StopAfter(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == last

def train(model, data, run_dir, last):
    watch = StopAfter()
    globals()["last"] = last
    options = {"steps": 6, "batch_size": 4, "log_every": 1, "length": 16, "warmup_steps": 1}
    tfalign.FineTuner(model, data, run_dir=run_dir, callbacks=[watch], **options).train()
"""


def train_without_tensorflow(*arguments):
    """Trains in a process in which there is no TensorFlow, which says which packages it has."""
    code = f"{WITHOUT}{TRAIN}\ntrain(*{arguments!r})\n"
    code += "from tfalign.cli import main\n"
    code += f"main(['tfalign', 'export', '--model={arguments[0]}'])\n"
    unset = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    given = {"cwd": ROOT, "env": unset, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", code], check=False, **given)
    assert "error: A SavedModel or LiteRT file needs TensorFlow" in done.stderr, done.stderr
    assert done.returncode == 2


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_run_begun_without_tensorflow_goes_on_with_it_and_back(start, tmp_path):
    model, _, _ = start
    data = tmp_path / "data.jsonl"
    rows = [json.dumps({"prompt": f"a{i}", "completion": f"b{i % 7}"}) for i in range(80)]
    data.write_text("\n".join(rows))
    scope = {}
    exec(TRAIN, scope)
    train_without_tensorflow(model, str(data), str(tmp_path / "run"), 2)
    assert keras.backend.backend() == "tensorflow"
    scope["train"](model, str(data), str(tmp_path / "run"), 4)
    train_without_tensorflow(model, str(data), str(tmp_path / "run"), 6)
    scope["train"](model, str(data), str(tmp_path / "straight"), 6)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").open()]
        for run in ("run", "straight")
    ]
    assert len(losses[0]) == len(losses[1]) == 6
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert max(losses[1]) - min(losses[1]) > 1e-2  # a step's batch is not another's
