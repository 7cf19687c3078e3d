"""What can be known before a run begins is said before it begins: nothing is left behind, neither a folder
nor a config.json, so that the corrected command runs."""

from __future__ import annotations

import gc
import json

import pytest

from tfalign.cli import records, run
from tfalign.cli.configs import smoke
from tfalign.options import build, changed, leaves, to_dict
from tfalign.trainers import FineTuner
from tfalign.trainers.base import open_run

SMALL = {"batch_size": 4, "steps": 2, "warmup_steps": 1}


def lines(file, *rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def refused(function, *arguments):
    """What a function says that must not go on."""
    try:
        function(*arguments)
    except (ValueError, OSError) as error:
        message = str(error)
    else:
        raise AssertionError("went on")
    gc.collect()  # the error held what was open
    return message


@pytest.fixture
def directories(start, tmp_path):
    """dict of what options name: a policy, files of prompts, texts, and of records with mistakes."""
    policy, prompts, _ = start
    return {
        "policy": policy,
        "prompts": prompts,
        "nowhere": str(tmp_path / "nowhere"),
        "text": lines(tmp_path / "text.jsonl", *({"text": f"words {i}"} for i in range(40))),
        "bad": lines(tmp_path / "bad.jsonl", {"prompt": "a"}, {"prompt": ""}),
        "run": str(tmp_path / "runs" / "new"),
    }


CASES = {
    "sft, data": (
        run.fine_tune,
        records.FineTuneJob,
        {"model": "policy", "data": "nowhere"},
        "nowhere",
    ),
    "sft, record": (
        run.fine_tune,
        records.FineTuneJob,
        {"model": "policy", "data": "bad"},
        "bad.jsonl:1: ",
    ),
    "sft, model": (run.fine_tune, records.FineTuneJob, {"model": "nowhere"}, "nowhere"),
    "pretraining": (
        run.pretrain,
        records.PretrainJob,
        {"data": "bad"},
        "bad.jsonl:1: the field 'text' is missing",
    ),
    "reward": (run.train_reward, records.RewardJob, {"model": "nowhere"}, "nowhere"),
    "preference": (
        run.preference,
        records.PreferenceJob,
        {"model": "policy", "data": "bad"},
        "bad.jsonl:1: the field 'chosen' is missing",
    ),
    "align, policy": (run.align, records.AlignJob, {"model": "nowhere"}, "nowhere"),
    "align, reward": (
        run.align,
        records.AlignJob,
        {"model": "policy", "data": "prompts", "reward": "nowhere"},
        "nowhere",
    ),
    "align, function": (
        run.align,
        records.AlignJob,
        {"model": "policy", "data": "prompts", "reward": "function"},
        "The reward no.such:rule cannot be imported",
    ),
    "evaluation": (run.evaluate, records.EvaluateJob, {"before": "nowhere"}, "nowhere"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_leaves_nothing(case, directories, tmp_path):
    main, kind, given, message = CASES[case]
    directories["function"] = "no.such:rule"
    given = {name: directories[value] for name, value in given.items()}
    known = {leaf.name for leaf in leaves(kind)}
    sizes = {name: size for name, size in SMALL.items() if name in known}
    job = build(kind, {"run_dir": directories["run"]} | sizes | given)
    assert message in refused(main, job)
    assert not (tmp_path / "runs").exists()
    open_run(job.run_dir, to_dict(job)).close()


@pytest.mark.parametrize("stage", ["sft", "reward_model", "ppo", "evaluate"])
def test_a_mistake_in_a_later_stage_is_said_before_the_first(stage, directories, tmp_path):
    values = {**smoke.CONFIG, "run_dir": directories["run"]}
    values["pretrain"] = {**values["pretrain"], "data": directories["text"]}
    for name in ("sft", "reward_model", "ppo", "evaluate"):
        values[name] = {**values[name], "data": directories["nowhere" if name == stage else "bad"]}
        values[name] |= {"on_bad": "skip"}
    message = refused(run.pipeline, build(records.PipelineJob, values))
    assert "nowhere" in message or "bad.jsonl" in message
    assert not (tmp_path / "runs").exists()


def test_a_warm_up_longer_than_the_run_is_refused(directories, tmp_path):
    data = [{"prompt": f"{i:02d}", "completion": "xy"} for i in range(40)]
    options = {"steps": 20, "warmup_steps": 21, "length": 8, "batch_size": 4}

    def train():
        FineTuner(directories["policy"], data, run_dir=directories["run"], **options)

    assert "warmup_steps must not exceed the number of updates. Received" in refused(train)
    assert not (tmp_path / "runs").exists()


def _opened(run_dir, **options):
    """The run that a fine-tuning with these options has."""
    job = changed(records.FineTuneJob(), run_dir=run_dir, **options)
    return open_run(job.run_dir, {"sft": to_dict(job)}, "sft")


def test_a_longer_run_is_told_its_own_flag_and_what_to_do(directories):
    with _opened(directories["run"], steps=20) as run:
        run.file("report.md").write_text("something was done")
    message = refused(lambda: _opened(directories["run"], steps=30))
    assert "this run began with --steps=20" in message and message.endswith("Received: --steps=30")
    assert "another --run_dir, where training may start from this run's model" in message


def test_what_may_change_in_a_run_that_goes_on(directories):
    with _opened(directories["run"]) as run:
        run.file("report.md").write_text("something was done")
    other = {"save_every": 7, "log_every": 3, "resume_from": 4, "data_dir": "elsewhere"}
    _opened(directories["run"], log_to=("mlflow",), **other).close()
