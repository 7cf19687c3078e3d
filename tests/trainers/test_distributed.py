"""``DistributedOnPolicyTrainer``: what ``OnPolicyTrainer`` does, whoever dies on the way."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import ray

from tfalign.models import from_pretrained
from tfalign.options import changed
from tfalign.rewards import RewardError
from tfalign.trainers import DistributedOnPolicyTrainer, OnPolicyTrainer, rollout_actors
from tfalign.trainers.on_policy_options import DistributedOptions
from tfalign.trainers.rollout_actors import RemoteResponses

ROWS = 6


def low_letters(prompt, response):
    """The share of a response's characters in the lower half of ASCII; what is learned here."""
    return sum(ord(letter) < 64 for letter in response) / max(len(response), 1)


def hangs(prompt, response):
    time.sleep(3600)


CHOICES = {
    "max_prompt_tokens": 4,
    "max_new_tokens": 4,
    "batch_size": ROWS,
    "learning_rate": 1e-2,
    "steps": 6,
    "save_every": 2,
}


def run_of(start, run_dir, trainer=OnPolicyTrainer, reward=low_letters, algorithm="ppo", **options):
    """(lines of metrics.jsonl, weights of the policy) of a run."""
    policy, prompts, _ = start
    choices = CHOICES | options
    trainer(policy, reward, prompts, algorithm, run_dir=run_dir, **choices).train()
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return lines, from_pretrained(run_dir / "models" / algorithm).get_weights()


def distributed(start, run_dir, monkeypatch, kind=RemoteResponses, **options):
    """``run_of`` with actors."""
    monkeypatch.setattr(rollout_actors, "RemoteResponses", kind)
    return run_of(start, run_dir, DistributedOnPolicyTrainer, **options)


@pytest.fixture(scope="module")
def alone(start, tmp_path_factory):
    """What ``OnPolicyTrainer`` ends with: PPO with a shared critic, whose decode loop gives the values."""
    return run_of(start, tmp_path_factory.mktemp("alone"))


def same(result, expected):
    """Whether two runs used the same prompts and ended with the same weights."""
    (lines, weights), (expected_lines, expected_weights) = result, expected
    assert [line["step"] for line in lines] == [line["step"] for line in expected_lines]
    for line, expected_line in zip(lines, expected_lines):
        assert line["score"] == pytest.approx(expected_line["score"], rel=1e-5)
        assert line["loss"] == pytest.approx(expected_line["loss"], rel=1e-4, abs=1e-6)
    for weight, expected_weight in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(weight, expected_weight, rtol=1e-5, atol=1e-5)


class Deadly(RemoteResponses):
    """Kills an actor that has been asked before the answers of these numbers are waited for."""

    killed = (1, 2, 5, 9, 10)
    waits = 0

    def _listen(self):
        self.waits += 1
        if self.waits in self.killed:
            ray.kill(self._actors[list(self._pending.values())[self.waits % len(self._pending)]])
        super()._listen()


@pytest.mark.slow
def test_synchronous_actors_are_align_though_they_are_killed(start, alone, tmp_path, monkeypatch):
    """Every prompt is answered once and by the same random numbers, or scores and weights would differ."""
    lines, weights = distributed(start, tmp_path, monkeypatch, Deadly)
    same((lines, weights), alone)
    assert lines[-1]["redone"] >= 4
    assert all(line["age"] == 0 for line in lines)


class CutOff(Exception):
    pass


@pytest.mark.slow
def test_a_learner_that_was_cut_off_goes_on(start, alone, tmp_path, monkeypatch):
    class Limited(RemoteResponses):
        updates = 0

        def publish(self, policy):
            self.updates += 1
            if self.updates == 4:
                raise CutOff  # the newest checkpoint is that of step 2
            super().publish(policy)

    with pytest.raises(CutOff):
        distributed(start, tmp_path, monkeypatch, Limited)
    same(distributed(start, tmp_path, monkeypatch), alone)


@pytest.mark.slow
def test_asynchronous_actors_stay_within_the_bound(start, tmp_path, monkeypatch):
    choices = {"staleness": 2, "algorithm": "vtrace"}
    lines, weights = distributed(start, tmp_path, monkeypatch, **choices)
    assert [line["step"] for line in lines] == list(range(1, 7))
    ages = [line["age"] for line in lines]
    assert ages[0] == 0 and 0 < max(ages) <= 2
    assert any(line["behind"] > 1e-6 for line in lines)
    assert all(np.isfinite(weight).all() for weight in weights)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_of_a_fixed_age_a_run_is_the_same_whoever_is_fast(start, tmp_path, monkeypatch):
    """Two actors, or two of which some are killed and redo what they did."""
    choices = {"staleness": 2, "fixed_age": True}
    runs = [
        distributed(start, tmp_path / kind.__name__, monkeypatch, kind, **choices)
        for kind in (RemoteResponses, Deadly)
    ]
    same(*runs)
    assert [line["age"] for line in runs[1][0]] == [0, 1, 2, 2, 2, 2]
    assert runs[1][0][-1]["redone"] >= 4


@pytest.mark.slow
def test_a_reward_that_hangs_in_an_actor_is_told(start, tmp_path, monkeypatch):
    choices = {"reward": hangs, "reward_timeout": 1.0}
    with pytest.raises(RewardError, match="no answer within 1 seconds"):
        distributed(start, tmp_path, monkeypatch, **choices)


def letters_or_number(prompt, response, record):
    """What is learned, and on held-out prompts, which have numbers, those."""
    return record["number"] if "number" in record else low_letters(prompt, response)


@pytest.mark.slow
def test_held_out_prompts_are_answered_by_the_learner(start, tmp_path, monkeypatch):
    """They are as without actors; as their reward stays the same, the training stops."""
    held_out = [{"prompt": f"{i}?", "number": i} for i in range(5)]
    choices = {"reward": letters_or_number, "held_out": held_out, "missing_stop": "keep"}
    choices |= {"eval_every": 1, "patience": 2, "keep_best": True}
    lines, weights = distributed(start, tmp_path / "distributed", monkeypatch, **choices)
    assert [line["eval_score"] for line in lines] == [2.0, 2.0, 2.0]
    assert [line["best_step"] for line in lines] == [1, 1, 1]
    alone = run_of(start, tmp_path / "alone", **choices)
    same((lines, weights), alone)
    for name in ("eval_kl", "eval_response_length", "eval_ended"):
        for line, expected_line in zip(lines, alone[0]):
            assert line[name] == pytest.approx(expected_line[name], rel=1e-3, abs=1e-6)


def test_options_that_need_one_process_are_refused(start, tmp_path):
    with pytest.raises(ValueError, match="--refresh_every is for one process"):
        changed(DistributedOptions(), refresh_every=2)
    with pytest.raises(ValueError, match="--staleness must be at least 0. Received: staleness=-1"):
        changed(DistributedOptions(), staleness=-1)
    with pytest.raises(ValueError, match="Received: 7 actors, 6 prompts"):
        run_of(start, tmp_path, DistributedOnPolicyTrainer, actors=7)


@pytest.mark.parametrize("missing", ["policy", "data", "reward"])
def test_what_is_missing_is_told_before_ray_starts(start, tmp_path, monkeypatch, missing):
    def started(**_):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", started)
    policy, prompts, tokenizer = start
    nowhere = "no.such:reward" if missing == "reward" else str(tmp_path / "nowhere")
    given = {"policy": policy, "data": prompts, "reward": low_letters} | {missing: nowhere}
    with pytest.raises((ValueError, OSError), match=nowhere):
        run_of(
            (given["policy"], given["data"], tokenizer),
            tmp_path / "run",
            DistributedOnPolicyTrainer,
            given["reward"],
        )
