"""What all trainers share: data in any form, rewards in any form, runs that go on, mistakes that leave nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

import tfalign
from tfalign.rewards import Combination, Ensemble, LearnedReward, RewardModel, TextReward
from tfalign.trainers.on_policy_options import RewardOptions
from tfalign.trainers.rewards import Context, resolve_reward
from tfalign.training.metrics_log import MEASURED

LIMITS = {"max_prompt_tokens": 4, "max_new_tokens": 4}
FEW = {"steps": 2, "batch_size": 4} | LIMITS


def length(prompt, response):
    return float(len(response))


@pytest.fixture(scope="module")
def policy(start):
    return start[0]


@pytest.fixture(scope="module")
def judge(policy, tmp_path_factory):
    """Directory of a reward model."""
    model = tfalign.load(policy)
    folder = tmp_path_factory.mktemp("judge")
    tfalign.Pretrained(RewardModel(model.model.config), model.tokenizer).save(folder / "judge")
    return folder / "judge"


def context(policy, records=None):
    return Context(tfalign.load(policy).tokenizer, records, RewardOptions(), None)


def test_every_form_of_a_reward_is_one_of_rollouts(policy, judge):
    here = context(policy)
    assert isinstance(resolve_reward(length, here), TextReward)
    assert isinstance(resolve_reward(str(judge), here), LearnedReward)
    assert isinstance(resolve_reward(tfalign.load(judge), here), LearnedReward)
    assert isinstance(resolve_reward(f"{judge},{judge}", here), Ensemble)
    learned = LearnedReward(tfalign.load(judge).model)
    assert resolve_reward(learned, here) is learned
    both = resolve_reward([judge, (length, 0.5)], here)
    assert isinstance(both, Combination) and both.takes_rows
    ids, mask = np.full((2, 4), 65, "int32"), np.ones((2, 4), "bool")
    expected = np.asarray(learned(ids, mask, mask[:, 2:])) + 0.5 * 2
    np.testing.assert_allclose(both(ids, mask, mask[:, 2:], None), expected, rtol=1e-6)
    named = resolve_reward({"learned": judge, "length": (0.5, length)}, here)
    np.testing.assert_allclose(named(ids, mask, mask[:, 2:], None), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (3, "A reward is a function, a directory, .* Received: int"),
        ("nowhere", "MODULE:NAME or FILE.py:NAME. Received: 'nowhere'"),
        (lambda response: 0.0, "A reward is called as"),
    ],
)
def test_a_reward_that_is_none_is_told_at_once_and_nothing_is_left(
    policy, tmp_path, reward, message
):
    with pytest.raises(ValueError, match=message):
        tfalign.OnPolicyTrainer(policy, reward, ["Q"] * 8, run_dir=tmp_path / "run", **FEW)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "Data is a source, or a sequence .* Received: int"),
        ({"prompt": "Q"}, "Data is a source, or a sequence .* Received: dict"),
        ([{"question": "Q"}], "record 0: the field 'prompt' is missing"),
        ([3], "record 0: it must be a dict or a PromptRecord"),
        ([], "There is no usable PromptRecord"),
        ("nowhere.jsonl", "nowhere.jsonl"),
    ],
)
def test_data_that_are_none_are_told(policy, tmp_path, data, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tfalign.OnPolicyTrainer(policy, length, data, run_dir=tmp_path / "run", **FEW)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepz": 3}, "no option stepz; did you mean steps"),
        ({"warmup_steps": 90}, "warmup_steps must not exceed the number of updates"),
        ({"weight_decay": 0.1}, "optimizer=adam has no weight decay"),
        ({"clip": 0.1}, "clip does not apply to the algorithm reinforce"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_options_that_are_wrong_are_told_and_nothing_is_left(policy, tmp_path, options, message):
    given = FEW | options
    with pytest.raises(ValueError, match=message):
        tfalign.OnPolicyTrainer(
            policy, length, ["Q"] * 8, "reinforce", run_dir=tmp_path / "run", **given
        )
    assert not any(tmp_path.iterdir())


def test_a_model_that_is_none_is_told(tmp_path):
    with pytest.raises(ValueError, match="There is no model directory nowhere"):
        tfalign.FineTuner("nowhere", [{"prompt": "a", "completion": "b"}], run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="A model is a directory, or what tfalign.load returns"):
        tfalign.FineTuner(3, [{"prompt": "a", "completion": "b"}], run_dir=tmp_path / "run")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_loaded_model_is_trained_itself_and_its_reference_stays(policy, tmp_path):
    model = tfalign.load(policy)
    before = model.model.get_weights()
    trainer = tfalign.OnPolicyTrainer(
        model,
        length,
        [f"Q{i}" for i in range(8)],
        "rloo",
        run_dir=tmp_path,
        learning_rate=1e-2,
        **FEW,
    )
    metrics = trainer.train()
    assert np.isfinite(metrics["score"]) and abs(metrics["first_max_log_ratio"]) < 1e-4
    assert any((a != b).any() for a, b in zip(before, model.model.get_weights()))
    for a, b in zip(before, trainer.worker.reference.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.directory == tmp_path / "models" / "rloo"
    saved = tfalign.load(model.directory)
    assert saved.log_prob("Q1", "x") == pytest.approx(model.log_prob("Q1", "x"), abs=1e-5)


@pytest.mark.slow
def test_epochs_decide_the_steps(policy, tmp_path):
    data = [{"prompt": f"{i:02d}", "completion": "xy"} for i in range(20)]
    trainer = tfalign.FineTuner(
        policy,
        data,
        held_out=data[:4],
        run_dir=tmp_path,
        epochs=2,
        batch_size=8,
        length=8,
        warmup_steps=1,
        eval_every=2,
        log_every=2,
    )
    assert trainer.num_steps == 5
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "eval_loss" in line) for line in lines] == [
        (2, True),
        (4, True),
        (5, True),
    ]


SCRIPT = """
import sys, tfalign

def reward(prompt, response, record):
    return float(record["answer"] in response) - 0.01 * len(response)

prompts = [{{"prompt": f"Q{{i:02d}}", "answer": str(i % 10)}} for i in range(40)]
tfalign.OnPolicyTrainer(
    {policy!r}, reward, prompts, algorithm="grpo", run_dir=sys.argv[1], steps=12, batch_size=16,
    max_prompt_tokens=4, max_new_tokens=4, learning_rate=1e-2, save_every=2,
).train()
"""


@pytest.mark.slow
def test_a_script_that_is_killed_ends_bit_for_bit_as_if_it_had_not_been(policy, tmp_path):
    """As in the README: a Python reward of records, GRPO, SIGKILL after some checkpoint, the same script."""
    script = tmp_path / "align.py"
    script.write_text(SCRIPT.format(policy=policy))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([sys.executable, script, whole], check=True, capture_output=True)
    process = subprocess.Popen([sys.executable, script, cut], stderr=subprocess.DEVNULL)
    step = 2 * np.random.default_rng(time.time_ns()).integers(1, 6)
    while not (cut / "checkpoints" / "grpo" / f"step-{step:08d}").exists():
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, script, cut], check=True, capture_output=True)
    ours, theirs = (
        load_file(run / "models" / "grpo" / "model.safetensors") for run in (cut, whole)
    )
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    lines = [
        [
            {k: v for k, v in json.loads(line).items() if k not in MEASURED}
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in (cut, whole)
    ]
    assert lines[0] == lines[1]
