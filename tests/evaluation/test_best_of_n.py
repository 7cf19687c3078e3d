"""Best of n on a problem whose responses can all be listed: n / (n + 1), and the bound of the KL."""

import numpy as np
import pytest

from tfalign.enumerable import Problem
from tfalign.evaluation.best_of_n import (
    best_of_n_distribution,
    best_of_n_log_ratio,
    win_probability,
)
from tfalign.evaluation.overoptimisation import best_of_n_kl
from tfalign.evaluation.statistics import win_rate
from tfalign.models import Actor
from tfalign.training.credit import NoCredit
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.training.selection import best_rows

PROBLEM = Problem(6, 4)
P = PROBLEM.probabilities(PROBLEM.policy())
P /= P.sum()  # float32 left 1e-7
SIZES = (1, 2, 4, 8, 16, 64)
DRAWS = 4096


def test_by_hand():
    """Two of three responses tie: the draws choose between them as they fall."""
    p, scores = np.array([0.5, 0.2, 0.3]), np.array([0.0, 1.0, 1.0])
    np.testing.assert_allclose(best_of_n_distribution(p, scores, 2), [0.25, 0.3, 0.45])
    np.testing.assert_allclose(best_of_n_distribution(p, scores, 1), p)
    assert win_probability(p, p, scores) == pytest.approx(0.5)
    assert win_probability(np.array([0, 0.5, 0.5]), p, scores) == pytest.approx(0.5 + 0.5 / 2)


@pytest.mark.parametrize("n", SIZES)
def test_the_win_rate_is_n_over_n_plus_one(n):
    """But for ties of a draw with itself, of which a share of two draws is the sum of squares."""
    exact = win_probability(best_of_n_distribution(P, PROBLEM.rewards, n), P, PROBLEM.rewards)
    likeliest = P.max()
    assert exact == pytest.approx(n / (n + 1), abs=likeliest)
    fine = np.repeat(P / 1000, 1000)  # every response in a thousand kinds that never tie
    kinds = np.arange(len(fine)) + 1e9 * np.repeat(PROBLEM.rewards.astype("float64"), 1000)
    without_ties = win_probability(best_of_n_distribution(fine, kinds, n), fine, kinds)
    assert without_ties == pytest.approx(n / (n + 1), abs=1e-4)


@pytest.mark.parametrize("n", SIZES)
def test_the_kl_stays_under_its_bound(n):
    best = best_of_n_distribution(P, PROBLEM.rewards, n)
    assert best.sum() == pytest.approx(1)
    seen = best > 0
    kl = float(best[seen] @ np.log(best[seen] / P[seen]))
    bound = float(best_of_n_kl(n))
    assert -1e-12 <= kl <= bound + 1e-12
    assert n == 1 or kl > 0.5 * bound
    order = np.argsort(PROBLEM.rewards)
    at_most = np.empty_like(P)
    at_most[order] = np.minimum(np.cumsum(P[order]), 1)
    ratios = best_of_n_log_ratio(np.log(P), at_most, n)
    np.testing.assert_allclose(ratios[seen], np.log(best[seen] / P[seen]), rtol=1e-4, atol=1e-6)


def test_the_library_s_own_draws(n=4):
    """Rollouts in groups of n + 1: the best of n against the last one, within 3 standard errors."""
    worker = RolloutWorker(
        Actor(PROBLEM.policy()),
        PROBLEM.policy(),
        PROBLEM.reward,
        RolloutConfig(4, stop_tokens=(PROBLEM.stop_token,), group_size=n + 1),
        NoCredit(),
    )
    rollout, _ = worker(PROBLEM.prompts(DRAWS), seed=n, kl_coefficient=0.0)
    scores = np.asarray(rollout.scores).reshape(DRAWS, n + 1)
    best = scores[:, :n].ravel()[best_rows(scores[:, :n], n)]
    found = win_rate(best, scores[:, n])
    exact = win_probability(best_of_n_distribution(P, PROBLEM.rewards, n), P, PROBLEM.rewards)
    error = np.sqrt(exact * (1 - exact) / DRAWS)
    assert abs(found.value - exact) < 3 * error
    assert abs(found.value - n / (n + 1)) < 3 * error + P.max()
    best_share = np.mean(best == PROBLEM.rewards.max())
    expected = best_of_n_distribution(P, PROBLEM.rewards, n)[PROBLEM.rewards.argmax()]
    assert abs(best_share - expected) < 3 * np.sqrt(expected / DRAWS) + 1e-9
