"""``experiments.align_distributed``: what ``align`` does, whoever dies on the way."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import ray

from experiments import align_distributed, stages
from experiments.align import AlignConfig, align
from experiments.align_distributed import AlignDistributedConfig
from experiments.rollout_actors import RemoteResponses
from tfalign.models import from_pretrained
from tfalign.rewards import RewardError

ROWS = 6


def low_letters(prompt, response):
    """The share of a response's characters in the lower half of ASCII; what is learned here."""
    return sum(ord(letter) < 64 for letter in response) / max(len(response), 1)


def hangs(prompt, response):
    time.sleep(3600)


@pytest.fixture(scope="module")
def options(start):
    """dict of options: a tiny policy and a file of prompts."""
    policy, prompts, _ = start
    return {
        "policy": policy,
        "data": prompts,
        "rule": "tests.experiments.test_align_distributed:low_letters",
        "rule_timeout": 0.0,
        "max_prompt_tokens": 4,
        "max_new_tokens": 4,
        "batch_size": ROWS,
        "learning_rate": 1e-2,
        "steps": 6,
        "save_every": 2,
    }


def run_of(config, remote=None):
    """(lines of metrics.jsonl, weights of the policy) of a run."""
    run = stages.open_run(config.algorithm, config)
    align(config, run, remote=remote)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    weights = from_pretrained(stages.model_directory(run, config.algorithm)).get_weights()
    return lines, weights


def distributed(config, kind=RemoteResponses):
    """``run_of`` with actors."""
    remote = kind(config)
    try:
        return run_of(config, remote)
    finally:
        remote.close()


@pytest.fixture(scope="module")
def alone(options, tmp_path_factory):
    """What ``align`` ends with: PPO with a shared critic, whose decode loop gives the values."""
    return run_of(AlignConfig(run_dir=str(tmp_path_factory.mktemp("alone")), **options))


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
def test_synchronous_actors_are_align_though_they_are_killed(options, alone, tmp_path):
    """Every prompt is answered once and by the same random numbers, or scores and weights would differ."""
    config = AlignDistributedConfig(run_dir=str(tmp_path), **options)
    lines, weights = distributed(config, Deadly)
    same((lines, weights), alone)
    assert lines[-1]["redone"] >= 4
    assert all(line["age"] == 0 for line in lines)


class CutOff(Exception):
    pass


@pytest.mark.slow
def test_a_learner_that_was_cut_off_goes_on(options, alone, tmp_path):
    class Limited(RemoteResponses):
        updates = 0

        def publish(self, policy):
            self.updates += 1
            if self.updates == 4:
                raise CutOff  # the newest checkpoint is that of step 2
            super().publish(policy)

    config = AlignDistributedConfig(run_dir=str(tmp_path), **options)
    with pytest.raises(CutOff):
        distributed(config, Limited)
    same(distributed(config), alone)


@pytest.mark.slow
def test_asynchronous_actors_stay_within_the_bound(options, tmp_path):
    choices = {"staleness": 2, "algorithm": "vtrace"}
    config = AlignDistributedConfig(run_dir=str(tmp_path), **options | choices)
    lines, weights = distributed(config)
    assert [line["step"] for line in lines] == list(range(1, 7))
    ages = [line["age"] for line in lines]
    assert ages[0] == 0 and 0 < max(ages) <= 2
    assert any(line["behind"] > 1e-6 for line in lines)
    assert all(np.isfinite(weight).all() for weight in weights)


@pytest.mark.slow
def test_of_a_fixed_age_a_run_is_the_same_whoever_is_fast(options, tmp_path):
    """Two actors, or two of which some are killed and redo what they did."""
    choices = {"staleness": 2, "fixed_age": True}
    runs = [
        distributed(
            AlignDistributedConfig(run_dir=str(tmp_path / kind.__name__), **options | choices), kind
        )
        for kind in (RemoteResponses, Deadly)
    ]
    same(*runs)
    assert [line["age"] for line in runs[1][0]] == [0, 1, 2, 2, 2, 2]
    assert runs[1][0][-1]["redone"] >= 4


@pytest.mark.slow
def test_a_reward_that_hangs_in_an_actor_is_told(options, tmp_path):
    choices = {"rule": options["rule"].replace("low_letters", "hangs"), "rule_timeout": 1.0}
    config = AlignDistributedConfig(run_dir=str(tmp_path), **options | choices)
    with pytest.raises(RewardError, match="no answer within 1 seconds"):
        distributed(config)


def test_options_that_need_one_process_are_refused(options):
    with pytest.raises(ValueError, match="--refresh_every is for one process"):
        AlignDistributedConfig(**options | {"refresh_every": 2})
    with pytest.raises(ValueError, match="Received: 7 actors, 6 prompts"):
        AlignDistributedConfig(**options | {"actors": 7})
    with pytest.raises(ValueError, match="--staleness must be at least 0. Received: staleness=-1"):
        AlignDistributedConfig(**options | {"staleness": -1})


@pytest.mark.parametrize("missing", ["policy", "data", "rule"])
def test_what_is_missing_is_said_before_ray_starts(options, tmp_path, monkeypatch, missing):
    def started(**_):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", started)
    nowhere = "no.such:rule" if missing == "rule" else str(tmp_path / "nowhere")
    config = AlignDistributedConfig(run_dir=str(tmp_path / "run"), **options | {missing: nowhere})
    with pytest.raises((ValueError, OSError), match=nowhere):
        align_distributed.main(config)
