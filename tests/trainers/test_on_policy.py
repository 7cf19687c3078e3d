"""``OnPolicyTrainer`` on a model of a few weights: it survives bad rewards by choice, and a run whose
rollouts come from an older policy goes on where it was killed."""

import json

import numpy as np
import pytest

from tfalign.models import from_pretrained
from tfalign.rewards import Guarded, RewardError
from tfalign.trainers import OnPolicyTrainer

ROWS = 4


def run_of(start, path, rule, gold=None, **options):
    """Trains with a rule as the reward: lines of metrics.jsonl, and the policy's weights."""
    policy, prompts, _ = start
    defaults = {"algorithm": "reinforce", "steps": 4, "save_every": 1, "batch_size": ROWS}
    limits = {"max_prompt_tokens": 4, "max_new_tokens": 4}
    choices = defaults | limits | options
    trainer = OnPolicyTrainer(policy, rule, prompts, run_dir=path, **choices)
    trainer.gold = gold
    trainer.train()
    lines = (path / "metrics.jsonl").read_text().splitlines()
    weights = from_pretrained(path / "models" / choices["algorithm"]).get_weights()
    return [json.loads(line) for line in lines], weights


def raises():
    raise RuntimeError("the judge is out")


class FailsNowAndThen:
    """The length of a response, but in some batches the first row's reward fails."""

    def __init__(self, failures):
        self.failures, self.batch, self.row = failures, 1, 0

    def __call__(self, prompt, response):
        fail = self.failures.get(self.batch)
        self.row = (self.row + 1) % ROWS
        if fail or self.row == 0:
            self.batch, self.row = self.batch + 1, 0
        return fail() if fail else len(response)


@pytest.mark.slow
def test_a_run_survives_bad_batches_by_choice(start, tmp_path):
    failures = {2: lambda: np.nan, 3: lambda: -np.inf, 5: raises}
    rule = FailsNowAndThen(failures)
    with pytest.warns(UserWarning, match="is skipped: The reward of row 0") as warned:
        lines, weights = run_of(start, tmp_path, rule, on_bad_reward="skip", steps=6)
    told = [str(warning.message) for warning in warned]
    assert sum("Received: nan" in message for message in told) == 1
    assert sum("Received: -inf" in message for message in told) == 1
    assert sum("RuntimeError: the judge is out" in message for message in told) == 1
    assert [line.get("skipped", 0) for line in lines] == [0, 1, 1, 0, 1, 0]
    assert all(np.isfinite(line["loss"]) for line in lines if "skipped" not in line)
    assert all(np.isfinite(weight).all() for weight in weights)


@pytest.mark.slow
def test_a_bad_batch_stops_the_run_otherwise(start, tmp_path):
    with pytest.raises(RewardError, match="row 0 failed with RuntimeError: the judge is out"):
        run_of(start, tmp_path, FailsNowAndThen({2: raises}))


def hangs(prompt, response):
    while response:
        pass
    return 1.0


@pytest.mark.slow
def test_a_reward_that_hangs_is_given_up_on(start, tmp_path):
    reward = Guarded(hangs, timeout=0.2, fallback=-1.0)
    lines, _ = run_of(start, tmp_path, reward, steps=2)
    assert lines[0]["score"] < 0 and reward.fallbacks > 0
    with pytest.warns(UserWarning, match="no answer within 0.2 seconds"):
        lines, _ = run_of(
            start, tmp_path / "skip", Guarded(hangs, timeout=0.2), steps=1, on_bad_reward="skip"
        )
    assert lines[0]["skipped"] == 1


class Killed(Exception):
    pass


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_older_sampler_survives_a_kill(start, tmp_path):
    def length(prompt, response):
        return len(response)

    calls = []

    def dies_in_batch_three(prompt, response):
        calls.append(response)
        if len(calls) > 2 * ROWS:
            raise Killed
        return 0.0

    options = {"algorithm": "reinforce_is", "refresh_every": 3, "steps": 5, "learning_rate": 1e-2}
    expected, whole = run_of(start, tmp_path / "whole", length, **options)
    with pytest.raises(Killed):
        run_of(start, tmp_path / "cut", length, dies_in_batch_three, **options)
    found, cut = run_of(start, tmp_path / "cut", length, **options)
    behind = [line["behind"] for line in expected]
    assert np.abs(behind)[[0, 3]].max() < 1e-6 and np.abs(behind)[[1, 2, 4]].min() > 1e-6
    assert [line["loss"] for line in found] == [line["loss"] for line in expected]
    for ours, theirs in zip(whole, cut):
        np.testing.assert_array_equal(ours, theirs)
