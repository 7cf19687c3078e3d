"""A run goes on only as it began, and its log holds every step once."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfalign
from tfalign.training.run_directory import (
    MetricsLog,
    RunDirectory,
    RunDirectoryError,
    package_versions,
)

CONFIG = {"seed": 1, "steps": 100, "ppo": {"clip": 0.2, "log_every": 5}, "layers": (2, 3)}


def recorded(directory: Path, config=CONFIG, **choices) -> RunDirectory:
    """A run in which a step was logged: what it was begun with is to stay."""
    run = RunDirectory(directory, config, **choices)
    with run.metrics("a stage") as log:
        log.write(1, {})
    run.close()
    return run


def read_lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_new_run_records_its_config_and_versions(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "a", CONFIG)
    run.begin()
    config = json.loads((run.path / "config.json").read_text())
    assert config == {**CONFIG, "layers": [2, 3]} == run.config
    versions = json.loads((run.path / "versions.json").read_text())
    assert versions["numpy"] == np.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert run.plots.is_dir()


def test_the_same_config_goes_on_and_harmless_keys_may_change(tmp_path):
    recorded(tmp_path)
    longer = {**CONFIG, "steps": 200, "ppo": {"clip": 0.2, "log_every": 1}}
    recorded(tmp_path)
    recorded(tmp_path, longer)
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 200


@pytest.mark.parametrize(
    ("change", "began", "received"),
    [
        ({"seed": 2}, "--seed=1", "--seed=2"),
        ({"ppo": {"clip": 0.3, "log_every": 5}}, "--ppo.clip=0.2", "--ppo.clip=0.3"),
        ({"ppo": {"log_every": 5}}, "--ppo.clip=0.2", "--ppo.clip=(not set)"),
        ({"ema": 0.9}, "--ema=(not set)", "--ema=0.9"),
    ],
)
def test_another_config_is_refused_with_flag_and_both_values(tmp_path, change, began, received):
    recorded(tmp_path)
    with pytest.raises(RunDirectoryError) as error:
        RunDirectory(tmp_path, {**CONFIG, **change})
    assert f"this run began with {began}," in str(error.value)
    assert str(error.value).endswith(f"Received: {received}")
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1


def test_the_caller_states_what_is_harmless(tmp_path):
    recorded(tmp_path, harmless={"seed"})
    recorded(tmp_path, {**CONFIG, "seed": 9}, harmless={"seed"})
    with pytest.raises(RunDirectoryError, match="--steps=100"):
        RunDirectory(tmp_path, {**CONFIG, "seed": 9, "steps": 1}, harmless={"seed"})


def test_other_versions_are_told(tmp_path):
    run = recorded(tmp_path)
    versions = json.loads((run.path / "versions.json").read_text())
    (run.path / "versions.json").write_text(json.dumps(versions | {"numpy": "0.9"}))
    with pytest.warns(UserWarning, match=f"numpy 0.9 -> {np.__version__}"):
        recorded(tmp_path)
    assert json.loads((run.path / "versions.json").read_text())["numpy"] == np.__version__


def test_the_message_names_the_flag_and_what_to_do(tmp_path):
    stage = {"sft": {"steps": 1}}
    recorded(tmp_path, stage, harmless=())
    with pytest.raises(RunDirectoryError) as error:
        RunDirectory(
            tmp_path,
            {"sft": {"steps": 2}},
            harmless=(),
            names=lambda key: "--" + key.removeprefix("sft."),
            advice={"steps": "begin another run."},
        )
    assert str(error.value) == (
        f"{tmp_path}/config.json: this run began with --steps=1, so it cannot continue with another"
        " value; begin another run. Received: --steps=2"
    )


def contents(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_a_run_that_never_began_leaves_nothing(tmp_path):
    """Neither its folder nor those above it, which it made; others stay."""
    (tmp_path / "kept").mkdir()
    for name in ("a/b/c", "kept"):
        run = RunDirectory(tmp_path / name, CONFIG)
        assert contents(run.path) == {"run.lock"}
        run.close()
    assert contents(tmp_path) == {"kept"}


def test_a_run_in_which_nothing_was_done_leaves_nothing_either(tmp_path):
    with RunDirectory(tmp_path / "a", CONFIG) as run:
        run.checkpointer("sft")
        assert run.plots.is_dir()
        run.metrics("sft").close()
    assert not contents(tmp_path)
    RunDirectory(tmp_path / "a", {**CONFIG, "seed": 2}).close()


@pytest.mark.parametrize("kind", ["line", "checkpoint", "file"])
def test_a_run_in_which_something_was_done_stays(tmp_path, kind):
    with RunDirectory(tmp_path, CONFIG) as run:
        if kind == "line":
            run.metrics("sft").write(1, {"loss": 1.0})
        elif kind == "checkpoint":
            run.checkpointer("sft").save(1, {}, {})
        else:
            run.file("report.md").write_text("done")
    assert {"config.json", "versions.json", "identity.json"} < contents(tmp_path)
    assert "run.lock" not in contents(tmp_path)


def test_whoever_writes_keeps_the_run_open(tmp_path):
    checkpointer = RunDirectory(tmp_path, CONFIG).checkpointer("sft")
    gc.collect()
    assert "run.lock" in contents(tmp_path)
    checkpointer.save(1, {}, {})


def test_what_lies_in_a_directory_before_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with RunDirectory(tmp_path, CONFIG) as run:
        run.begin()
    assert {"notes.txt", "config.json"} < contents(tmp_path)


def test_a_run_has_an_identity_of_its_own(tmp_path):
    runs = [recorded(tmp_path / name / "same") for name in ("a", "b")]
    assert len({run.id for run in runs}) == 2
    assert recorded(tmp_path / "a" / "same").id == runs[0].id
    assert all(len(run.id) == 32 and int(run.id, 16) >= 0 for run in runs)


@pytest.mark.parametrize("path", ["hdfs://bucket/run", "file:///tmp/run"])
def test_other_systems_paths_are_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for take in (lambda: RunDirectory(path, CONFIG), lambda: MetricsLog(path, "sft")):
        with pytest.raises(ValueError, match=f"Only local paths .* Received: {path}"):
            take()
    assert not contents(tmp_path)


def test_a_full_disk_is_told_with_the_file(tmp_path, full_disk):
    with RunDirectory(tmp_path, CONFIG) as run:
        log = run.metrics("sft")
        log.write(1, {"loss": 1.0})
        with full_disk(80), pytest.raises(OSError, match=r"metrics\.jsonl"):
            log.write(2, {"loss": 1.0})
        log.close()
        with run.metrics("sft", resume_step=1) as log:  # half a line is forgotten
            log.write(2, {"loss": 2.0})
    assert [line["step"] for line in read_lines(tmp_path)] == [1, 2]


def test_a_full_disk_lets_no_run_begin(tmp_path, full_disk):
    run = RunDirectory(tmp_path / "a", CONFIG)
    with full_disk(10), pytest.raises(OSError, match=r"config\.json"):
        run.begin()
    run.close()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("content", ["{half", "[]"])
def test_a_damaged_config_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"config\.json (is damaged|must hold an object)"):
        RunDirectory(tmp_path, CONFIG)


def test_stages_have_checkpoints_of_their_own(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    run.checkpointer("sft").save(5, {}, {})
    assert run.checkpointer("sft").latest() == 5
    assert run.checkpointer("ppo").latest() is None


def test_absent_packages_are_left_out():
    assert "no-such-package" not in package_versions(["no-such-package"])


def test_lines_are_there_as_soon_as_they_are_written(tmp_path):
    log = MetricsLog(tmp_path, "ppo")
    log.write(1, {"kl": np.float32(0.5), "loss": float("nan"), "score": float("inf")})
    (line,) = read_lines(tmp_path)
    assert line.pop("time") > 1.7e9
    assert line == {"stage": "ppo", "step": 1, "kl": 0.5, "loss": None, "score": None}
    log.close()


def test_a_resumed_stage_forgets_later_lines_of_its_own_and_a_half_line(tmp_path):
    with MetricsLog(tmp_path, "sft") as log:
        log.write(9, {"loss": 9.0})
    with MetricsLog(tmp_path, "ppo") as log:
        for step in (1, 2, 3, 4):
            log.write(step, {"kl": float(step)})
    with open(tmp_path / "metrics.jsonl", "ab") as stream:
        stream.write(b'{"stage": "ppo", "st')
    with MetricsLog(tmp_path, "ppo", resume_step=2) as log:
        log.write(3, {"kl": 30.0})
    lines = [(line["stage"], line["step"], line.get("kl")) for line in read_lines(tmp_path)]
    assert lines == [("sft", 9, None), ("ppo", 1, 1.0), ("ppo", 2, 2.0), ("ppo", 3, 30.0)]


def test_a_half_line_that_happens_to_be_json_is_forgotten_too(tmp_path):
    # A line is finished by its newline alone: the number in it may have lost digits.
    (tmp_path / "metrics.jsonl").write_bytes(b'{"stage": "sft", "step": 1}\n{"stage": "sft"}')
    MetricsLog(tmp_path, "ppo").close()
    assert read_lines(tmp_path) == [{"stage": "sft", "step": 1}]


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "sft", "step": 1}\n{"step": 1}\n')
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl:2: .* Received: {\"step\": 1}"):
        MetricsLog(tmp_path, "ppo")


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with MetricsLog(tmp_path, "ppo") as log:
        for step in (1, 2, 3, 4):
            log.write(step, {"kl": float(step)})
    with MetricsLog(tmp_path, "ppo", resume_step=2) as log:
        log.write(3, {"kl": 30.0})
    accumulator = accumulators.EventAccumulator(str(tmp_path / "events" / "ppo"))
    accumulator.Reload()
    shown = [(event.step, event.value) for event in accumulator.Scalars("kl")]
    assert shown == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_the_light_modules_import_neither_tensorflow_nor_keras(tmp_path):
    code = (
        "import sys, tfalign.training.run_directory as r, tfalign.evaluation.report;"
        f" r.MetricsLog({str(tmp_path)!r}, 'ppo').write(1, {{'kl': 1.0}});"
        " print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    root = str(Path(tfalign.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"


TWO_AT_ONCE = """
import sys, time
from tfalign.training.run_directory import RunDirectory
try:
    run = RunDirectory(sys.argv[1], {"a": 1})
except ValueError as error:
    sys.exit(str(error))
with run.metrics("s") as log:
    for step in range(1, 101):
        log.write(step, {"loss": 1.0})
        time.sleep(0.02)
"""


def test_of_two_that_start_at_once_the_metrics_of_one_are_whole(tmp_path, fuzz_cases):
    root = str(Path(tfalign.__file__).parents[1])
    for attempt in range(fuzz_cases(1)):
        directory = tmp_path / f"{attempt}" / "run"
        command = [sys.executable, "-c", TWO_AT_ONCE, str(directory)]
        both = [
            subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(2)
        ]
        errors = [process.communicate()[1] for process in both]
        codes = [process.returncode for process in both]
        assert sorted(codes) == [0, 1], errors
        told = f"{directory} is in use by process {both[codes.index(0)].pid} on "
        assert told in errors[codes.index(1)]
        assert [line["step"] for line in read_lines(directory)] == list(range(1, 101))
