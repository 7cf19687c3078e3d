"""Walks that can be enumerated: algorithms find the optimum among them, with and without shaping."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.studies.exact_walk import ExactWalkConfig, distance, walks


def test_shaping_changes_single_hops_and_no_walk():
    plain, shaped = walks(), walks(shaped=True)
    np.testing.assert_allclose(plain.rewards, shaped.rewards, atol=1e-6)
    assert set(plain.rewards.tolist()) == {0.0, 1.0}
    earned = [problem.reward(*problem.inputs(), problem.mask) for problem in (plain, shaped)]
    assert np.abs(earned[0] - earned[1]).max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shaped"),
    [("ppo", True), ("ppo", False), ("rloo", True), ("grpo", True)],
)
def test_the_optimum_is_found(name, shaped):
    config = ExactWalkConfig(steps=300, batch_size=256)
    assert distance(walks(shaped=shaped), name, 0.3, config) < 0.05
