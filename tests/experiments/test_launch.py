"""Options: defaults, config files, flags over them, and mistakes told in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from absl import flags

from experiments import launch
from experiments.best_of_n import BestOfNConfig
from experiments.configs import best_of_n, demo, hh_rlhf, movie_reviews, preference, smoke
from experiments.pipeline import PipelineConfig
from experiments.preference import PreferenceConfig
from tfalign.options import build, option, option_record

CONFIGS = {module: PipelineConfig for module in (demo, smoke, hh_rlhf, movie_reviews)}
CONFIGS |= {preference: PreferenceConfig, best_of_n: BestOfNConfig}


@option_record
class Inner:
    steps: int = option(10, "updates", at_least=1)
    rate: float = option(0.5, "a rate")
    kind: str = option("a", "a choice", ["a", "b"])


@option_record
class Outer:
    name: str = option("x", "a name")
    fast: bool = option(False, "a switch")
    inner: Inner = option(Inner(), "nested")


def parse(*argv, config=None):
    values = flags.FlagValues()
    defined = launch.flags
    try:
        launch.flags = _Definer(values)
        launch.define_flags(Outer)
    finally:
        launch.flags = defined
    flags.DEFINE_string("config", config, "", flag_values=values)
    values(["prog", *argv])
    return launch.parse_config(Outer, values)


class _Definer:
    """absl.flags that defines into a FlagValues of its own."""

    def __init__(self, values):
        self._values = values

    def __getattr__(self, name):
        return lambda *args: getattr(flags, name)(*args, flag_values=self._values)


def test_defaults_then_file_then_flags(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"name": "file", "inner": {"steps": 3, "rate": 1}}))
    assert parse() == Outer()
    assert parse(config=str(file)) == Outer(name="file", inner=Inner(steps=3, rate=1.0))
    got = parse("--inner.steps=7", "--fast", config=str(file))
    assert got == Outer(name="file", fast=True, inner=Inner(steps=7, rate=1.0))


def test_a_wrong_config_is_told(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"inner": {"steps": 0}}))
    with pytest.raises(ValueError, match="--inner.steps must be at least 1. Received: steps=0"):
        parse(config=str(file))
    with pytest.raises(ValueError, match="--inner.steps must be at least 1. Received: steps=-3"):
        parse("--inner.steps=-3", config=str(file))
    assert parse("--inner.steps=3", config=str(file)).inner.steps == 3
    with pytest.raises(ValueError, match="Configs are .*demo, .*Received: nothing"):
        parse(config="nothing")


@pytest.mark.parametrize("module", CONFIGS, ids=lambda module: module.__name__)
def test_named_configs_are_valid(module):
    config = build(CONFIGS[module], module.CONFIG)
    assert config.run_dir.startswith("runs/")
    assert "python -m experiments" in module.__doc__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiments.align", "--stpes=3"], "Unknown command line flag 'stpes'"),
        (["experiments.align", "--minibatch_size=7"], "--minibatch_size must divide --batch_size"),
        (["experiments.generate", "--greedy", "--top_k=3"], "--greedy excludes"),
        (["experiments.sft", "--model=nowhere", "--run_dir={tmp}"], "nowhere"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, arguments, message):
    arguments = [a.replace("{tmp}", str(tmp_path)) for a in arguments]
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
