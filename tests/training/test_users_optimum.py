"""One policy of several users reaches the exact optimum of each."""

import numpy as np
import pytest

from experiments.studies.exact_optimum import solve, with_kl_in_reward
from experiments.studies.users_optimum import UsersOptimumConfig, UsersProblem


def test_a_users_probabilities_and_optima_by_hand():
    """pi_ref exp(z_u . R / beta) / Z, of what the reference's own logits say."""
    problem = UsersProblem(vocab_size=3, horizon=2)
    reference = problem.probabilities(problem.reference())
    assert reference.sum() == pytest.approx(1, abs=1e-5)
    weights = reference * np.exp(problem.rewards_of_users / 0.5)
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(problem.optima(0.5), expected, atol=1e-6)
    policy = problem.policy()
    found = [problem.probabilities_of(policy, user) for user in range(2)]
    assert np.sum(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["rloo"])
def test_each_users_optimum_is_reached(name):
    problem = UsersProblem()
    assert max(problem.distances(problem.policy(), 0.5)) > 0.4
    policy = solve(problem, with_kl_in_reward(name, 0.5), UsersOptimumConfig())
    assert max(problem.distances(policy, 0.5)) <= 0.05
