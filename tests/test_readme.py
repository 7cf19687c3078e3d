"""The README's examples run as they stand, and its commands have the flags that they are given."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest
from absl import flags

import tfalign
from tfalign.cli import launch, records
from tfalign.cli.flags import define_flags
from tfalign.cli.jobs import JOBS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {
    file.stem: match[1]
    for file in sorted((ROOT / "experiments").glob("*.py"))
    if (match := re.search(r'launch_job\("(\w+)"', file.read_text(encoding="utf-8")))
}


def blocks(*words):
    """The README's Python blocks with all of these words."""
    found = re.findall(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in found if all(word in block for word in words)]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder in which ``tfalign.load`` finds a tiny language model whatever it is asked for."""
    from tfalign.models import CausalLM
    from tfalign.text import train_byte_bpe

    tokenizer = train_byte_bpe([], 259)
    model = CausalLM.from_preset("tiny_llama", vocab_size=259, num_layers=1, max_positions=128)
    tfalign.Pretrained(model, tokenizer).save(tmp_path / "model")
    load = tfalign.load
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfalign, "load", lambda _: load(tmp_path / "model"), raising=False)


def test_the_layers_example_trains():
    scope = {}
    exec(blocks("TransformerBlock")[0], scope)
    losses = scope["model"].history.history["loss"]
    assert losses[-1] < losses[0]


def test_text_goes_in_and_out(tiny):
    scope = {}
    exec(blocks("Sampler")[0], scope)
    assert scope["out"].tokens.shape == (1, 20)


def test_ten_lines_align_a_model(tiny):
    (block,) = blocks("OnPolicyTrainer")
    assert len([line for line in block.splitlines() if line]) <= 10
    scope = {}
    exec(block.replace("steps=20", "steps=1, batch_size=16"), scope)
    assert pathlib.Path("runs/mine/models/grpo/model.safetensors").exists()


def commands():
    """(page, job, flags) of every command of a job in README, docs and the experiments' docstrings."""
    files = [*PAGES, *sorted((ROOT / "experiments").rglob("*.py"))]
    for file in files:
        text = file.read_text(encoding="utf-8").replace("\\\\\n", " ").replace("\\\n", " ")
        pattern = r"(?:tfalign|python -m experiments\.(\w+)) +((?:[a-z]\w* +)?--[^`#\n]*)"
        for module, rest in re.findall(pattern, text):
            words = [
                word
                for word in shlex.split(rest.replace("...", ""))
                if "=NAME" not in word and "$" not in word
            ]
            job = MODULES.get(module) if module else words.pop(0)
            if job in JOBS:
                yield file.relative_to(ROOT).as_posix(), job, words


@pytest.mark.parametrize(
    ("page", "job", "words"),
    commands(),
    ids=lambda value: "_" if isinstance(value, list) else value,
)
def test_a_command_has_the_flags_that_it_is_given(page, job, words):
    values = flags.FlagValues()
    define_flags(getattr(records, JOBS[job].record), values)
    define_flags(getattr(launch, JOBS[job].process_kind), values)
    values(["tfalign", *words])


def test_the_commands_name_experiments_that_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in set(re.findall(r"python -m experiments\.([\w.]+\w)", text)):
            assert (ROOT / "experiments" / f"{name.replace('.', '/')}.py").exists(), (page, name)
