"""The README's examples run as they stand."""

from __future__ import annotations

import pathlib
import re

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_layers_example_trains():
    scope = {}
    exec(blocks()[0], scope)
    losses = scope["model"].history.history["loss"]
    assert losses[-1] < losses[0]


def test_the_decoding_example_decodes(monkeypatch):
    from tfalign.models import CausalLM

    monkeypatch.setattr(
        "tfalign.models.from_pretrained", lambda _: CausalLM.from_preset("tiny", num_layers=1)
    )
    scope = {}
    exec(blocks()[1], scope)
    assert scope["out"].tokens.shape == (1, 20)


def test_the_commands_name_experiments_that_exist():
    text = README.read_text(encoding="utf-8")
    for name in set(re.findall(r"python -m experiments\.(\w+)", text)):
        assert (README.parent / "experiments" / f"{name}.py").exists(), name
