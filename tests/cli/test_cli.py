"""The command line: defaults, config files, flags over them, help, and mistakes told in a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from absl import flags

from experiments.configs import best_of_n, hh_rlhf, movie_reviews, preference
from experiments.studies.best_of_n import BestOfNConfig
from tests.sampling import with_slow
from tfalign.cli import main, records
from tfalign.cli.configs import demo, smoke
from tfalign.cli.flags import define_flags, parsed
from tfalign.cli.help import help_text
from tfalign.cli.jobs import JOBS
from tfalign.cli.launch import NOWHERE, WithoutDevices, launch
from tfalign.options import build, leaves, option, option_record, record

CONFIGS = {module: records.PipelineJob for module in (demo, smoke, hh_rlhf, movie_reviews)}
CONFIGS |= {preference: records.PreferenceJob, best_of_n: BestOfNConfig}


@option_record
class Inner:
    """How much."""

    steps: int = option(10, "Updates.", at_least=1)
    rate: float | None = option(None, "A rate.", above=0)
    kind: str = option("a", "A choice.", ["a", "b"])
    ids: tuple[int, ...] = option((), "Ids.")


@option_record
class Outer:
    name: str = option("x", "A name.")
    fast: bool = option(False, "A switch.")
    inner: Inner = record(Inner())
    stage: Inner = option(Inner(steps=5), "Another")
    absent: Inner | None = record(None, prefix="absent.")


def parse(*argv, config=None):
    values = flags.FlagValues()
    define_flags(Outer, values)
    values(["prog", *argv])
    return parsed(Outer, values, config)


def test_defaults_then_config_then_flags():
    config = {"name": "file", "inner": {"steps": 3, "rate": 1}, "stage.kind": "b"}
    assert parse() == Outer()
    from_file = Outer(name="file", inner=Inner(steps=3, rate=1.0), stage=Inner(steps=5, kind="b"))
    assert parse(config=config) == from_file
    got = parse("--steps=7", "--fast", "--stage.steps=2", "--ids=3,4", config=config)
    inner = Inner(steps=7, rate=1.0, ids=(3, 4))
    assert got == Outer(name="file", fast=True, inner=inner, stage=Inner(steps=2, kind="b"))
    assert parse().absent is None
    assert parse("--absent.steps=4").absent == Inner(steps=4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": 1}, "no option nam; did you mean name"),
        ({"inner": {"step": 1}}, "no option step; did you mean steps"),
        ({"inner": {"steps": "many"}}, "steps must be of type int. Received: 'many'"),
        ({"inner": {"steps": 0}}, "--steps must be at least 1. Received: steps=0"),
        ({"inner": {"rate": float("nan")}}, "--rate must be above 0. Received: rate=nan"),
        ({"inner": {"kind": "c"}}, "--kind must be one of a, b. Received: kind=c"),
        ({"inner": 3}, "must be an object of options. Received: 3"),
        ({"inner": {"steps": 1}, "steps": 2}, "The option steps is given twice"),
        ({"fast": 1}, "fast must be of type bool"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(values, message):
    with pytest.raises(ValueError, match=message):
        build(Outer, values)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", '{\n"name": }', r"c\.json:2: not JSON"),
        ("c.json", "[1]", r"c\.json must hold an object of options. Received: \[1\]"),
        ("c.yaml", "a: [", r"c\.yaml:1: not YAML"),
        ("c.txt", "", "A config is a .json or .yaml file, or one of: demo, smoke. Received"),
        ("absent.json", None, "No such file"),
    ],
)
def test_a_wrong_file_is_told_by_its_line(tmp_path, capsys, name, content, message):
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["tfalign", "pipeline", f"--config={file}"])
    assert ended.value.code == 2
    assert __import__("re").search(message, capsys.readouterr().err)


@pytest.mark.parametrize("module", CONFIGS, ids=lambda module: module.__name__)
def test_named_configs_are_valid(module):
    config = build(CONFIGS[module], module.CONFIG)
    assert config.run_dir.startswith("runs/")
    assert "python -m experiments" in module.__doc__ or "tfalign" in module.__doc__


@pytest.mark.parametrize("name", JOBS)
def test_every_job_has_a_help_that_names_all_its_options(name):
    job = JOBS[name]
    kind = getattr(records, job.record)
    text = help_text(f"tfalign {name}", kind.__doc__, kind)
    for leaf in leaves(kind):
        assert f"\n  --{leaf.name} " in text or f"\n  --{leaf.name}\n" in text
        assert leaf.field.metadata["help"][0].isupper() or leaf.field.metadata["help"][0] in '"'
        assert leaf.field.metadata["help"].endswith(".")
    assert text.index("Main options") < text.index("--run_dir" if "run_dir" in text else "--model")


def test_help_imports_neither_tensorflow_nor_keras():
    code = (
        "import sys; from tfalign.cli import main; main(['tfalign', 'align', '--help']);"
        "print([m for m in ('tensorflow', 'keras', 'jax', 'gymnasium') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n") and not done.stderr
    assert "Devices: of the process" in done.stdout and "--learning_rate" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["algin"], "There is no job algin; did you mean align?"),
        (["align", "--stpes=3"], "Unknown command line flag 'stpes'. Did you mean: steps"),
        (["align", "--batch_size=0"], "--batch_size must be at least 1. Received: batch_size=0"),
        (["align", "--seed=x"], "seed"),
        (["align", "steps"], "Arguments are given as --flag=value. Received: steps"),
        (["generate", "--greedy", "--top_k=3"], "greedy excludes"),
    ],
)
def test_mistakes_in_flags_end_in_one_sentence(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(["tfalign", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_mistake_that_is_noticed_later_is_a_sentence_too(tmp_path, capsys):
    def run(options):
        raise ValueError(f"nothing at {options.name}")

    with pytest.raises(SystemExit) as ended:
        launch(Outer, run, "About.", ["prog", f"--name={tmp_path}"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: nothing at {tmp_path}\n"


def test_the_list_of_jobs(capsys):
    main(["tfalign"])
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in JOBS)


@pytest.mark.parametrize("arguments", [[], ["align", "--help"]])
def test_a_help_whose_reader_stops_early(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tfalign", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "module", with_slow([["tfalign", "sft"], ["experiments.sft"]], [["experiments.sft"]])
)
@pytest.mark.slow
def test_a_module_is_the_job(tmp_path, module):
    arguments = [*module, "--model=nowhere", f"--run_dir={tmp_path / 'run'}"]
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "error: There is no model directory nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_plan_compiles_what_it_reads():
    """Of a program that XLA finds compiled it writes nothing down: the second ``plan --check`` had nothing to read."""
    assert JOBS["plan"].process_kind == WithoutDevices.__name__
    assert WithoutDevices().process.compile_cache == NOWHERE


def test_json_is_what_a_record_is_written_as():
    from tfalign.options import to_dict

    assert json.loads(json.dumps(to_dict(Outer())))["inner"]["steps"] == 10
