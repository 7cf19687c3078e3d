"""What can be known before a run begins is said before it begins: nothing is left behind, neither a folder
nor a config.json, so that the corrected command runs."""

from __future__ import annotations

import gc
import json

import pytest

from experiments import (
    align,
    evaluate,
    pipeline,
    preference,
    pretrain_gpt,
    sft,
    stages,
    train_reward,
)
from experiments.configs import smoke
from tfalign import options

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
    "sft, data": (sft.main, sft.SFTConfig, {"model": "policy", "data": "nowhere"}, "nowhere"),
    "sft, record": (sft.main, sft.SFTConfig, {"model": "policy", "data": "bad"}, "bad.jsonl:1: "),
    "sft, model": (sft.main, sft.SFTConfig, {"model": "nowhere"}, "nowhere"),
    "pretraining": (
        pretrain_gpt.main,
        pretrain_gpt.PretrainConfig,
        {"data": "bad"},
        "bad.jsonl:1: the field 'text' is missing",
    ),
    "reward": (train_reward.main, train_reward.RewardConfig, {"model": "nowhere"}, "nowhere"),
    "preference": (
        preference.main,
        preference.PreferenceConfig,
        {"policy": "policy", "data": "bad"},
        "bad.jsonl:1: the field 'chosen' is missing",
    ),
    "align, policy": (align.main, align.AlignConfig, {"policy": "nowhere"}, "nowhere"),
    "align, reward": (
        align.main,
        align.AlignConfig,
        {"policy": "policy", "reward_model": "nowhere"},
        "nowhere",
    ),
    "evaluation": (evaluate.main, evaluate.EvaluateConfig, {"before": "nowhere"}, "nowhere"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_leaves_nothing(case, directories, tmp_path):
    main, kind, given, message = CASES[case]
    given = {name: directories[value] for name, value in given.items()}
    sizes = {name: SMALL[name] for name in SMALL if name in kind.__dataclass_fields__}
    config = kind(run_dir=directories["run"], **sizes, **given)
    assert message in refused(main, config)
    assert not (tmp_path / "runs").exists()
    stages.open_run("corrected", config).close()


def test_a_rule_that_is_not_there_leaves_nothing(directories, tmp_path):
    config = align.AlignConfig(
        run_dir=directories["run"], policy=directories["policy"], rule="no.such:rule"
    )
    assert "rule=no.such:rule" in refused(align.main, config)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("stage", ["sft", "reward_model", "ppo", "evaluate"])
def test_a_mistake_in_a_later_stage_is_said_before_the_first(stage, directories, tmp_path):
    values = {**smoke.CONFIG, "run_dir": directories["run"]}
    values["pretrain"] = {**values["pretrain"], "data": directories["text"]}
    for name in ("sft", "reward_model", "ppo", "evaluate"):
        values[name] = {**values[name], "data": directories["nowhere" if name == stage else "bad"]}
        values[name] |= {"on_bad": "skip"}
    config = options.build(pipeline.PipelineConfig, values)
    message = refused(pipeline.run_pipeline, config)
    assert "nowhere" in message or "bad.jsonl" in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (sft.SFTConfig, {}),
        (train_reward.RewardConfig, {}),
        (preference.PreferenceConfig, {}),
        (pretrain_gpt.PretrainConfig, {}),
    ],
)
def test_a_warm_up_longer_than_the_run_is_refused(kind, given):
    message = "--warmup_steps must not exceed --steps. Received: warmup_steps=21, steps=20"
    with pytest.raises(ValueError, match=message):
        kind(steps=20, warmup_steps=21, **given)


def test_a_longer_run_is_told_its_own_flag_and_what_to_do(directories):
    config = sft.SFTConfig(run_dir=directories["run"], steps=20)
    with stages.open_run("sft", config) as run:
        run.file("report.md").write_text("something was done")
    longer = sft.SFTConfig(run_dir=directories["run"], steps=30)
    message = refused(stages.open_run, "sft", longer)
    assert "this run began with --steps=20" in message and message.endswith("Received: --steps=30")
    assert "another --run_dir, where training may start from this run's model" in message


def test_what_may_change_in_a_run_that_goes_on(directories):
    config = sft.SFTConfig(run_dir=directories["run"])
    with stages.open_run("sft", config) as run:
        run.file("report.md").write_text("something was done")
    other = {"save_every": 7, "log_every": 3, "resume_from": 4, "data_dir": "elsewhere"}
    other |= {"log_to": "mlflow"}
    stages.open_run("sft", sft.SFTConfig(run_dir=directories["run"], **other)).close()
