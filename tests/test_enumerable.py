"""Problems of one's own whose optimum is known exactly: what it is, that nothing is better, and that algorithms reach it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from experiments.studies.enumerable import mirror, no_repeats
from tfalign.enumerable import Problem, total_variation, train


def closed_form(problem, beta):
    """pi_ref exp(r / beta) / Z."""
    weights = problem.probabilities(problem.reference()) * np.exp(
        problem.rewards.astype("float64") / beta
    )
    return weights / weights.sum()


@pytest.mark.parametrize("beta", [0.05, 0.5, 3.0])
@pytest.mark.parametrize(
    "problem",
    [Problem(4, 3), Problem(3, 3, constraint=no_repeats(3, 3)), Problem(4, 4, user=mirror(4))],
    ids=["plain", "constraint", "user"],
)
def test_backups_without_a_discount_are_the_closed_form(problem, beta):
    optimum = problem.optimum(beta)
    np.testing.assert_allclose(optimum, closed_form(problem, beta), atol=1e-9)
    partition = np.sum(
        problem.probabilities(problem.reference())
        * np.exp(problem.rewards.astype("float64") / beta)
    )
    assert problem.optimal_value(beta) == pytest.approx(beta * np.log(partition), abs=1e-6)


def test_a_discounted_problem_by_hand():
    """Stop (1) earns 1; to go on earns 0 and is worth gamma times what the second token is: log((1 + e^2) / 2)."""
    problem = Problem(2, 2, rewards=[0.0, 2.0, 1.0], reference=np.zeros((3, 2)), discount=0.5)
    assert [tuple(r[m]) for r, m in zip(problem.responses, problem.mask)] == [(0, 0), (0, 1), (1,)]
    later = 0.5 * np.log((1 + np.exp(2)) / 2)
    start = np.log((np.exp(1) + np.exp(later)) / 2)
    stop = np.exp(1) / (np.exp(1) + np.exp(later))
    good = np.exp(2) / (1 + np.exp(2))
    expected = [(1 - stop) * (1 - good), (1 - stop) * good, stop]
    np.testing.assert_allclose(problem.optimum(1.0), expected, atol=1e-7)
    assert problem.optimal_value(1.0) == pytest.approx(start, abs=1e-7)


def test_no_policy_is_worth_more():
    """The policy of the optimum's conditionals has the optimal value, and every other one near it less."""
    problem, beta = Problem(3, 2, seed=1, discount=0.7), 0.4
    optimum, value = problem.optimum(beta), problem.optimal_value(beta)
    logits = np.full(problem.ref_logits.shape, -20.0)
    for prefix, token in itertools.product(range(problem.num_prefixes), range(3)):
        start = () if prefix == 0 else (prefix - 1,)
        begin = (*start, token)
        through = [tuple(r[: len(begin)]) == begin for r in problem.responses.tolist()]
        if optimum[through].sum() and (not start or start[0] != 2):
            logits[prefix, token] = np.log(optimum[through].sum())
    policy, random = problem.policy(), np.random.default_rng(0)
    policy.backbone.table.assign(logits)
    np.testing.assert_allclose(problem.probabilities(policy), optimum, atol=1e-6)
    assert problem.value(policy, beta) == pytest.approx(value, abs=1e-5)
    for _ in range(10):
        policy.backbone.table.assign(logits + random.normal(size=logits.shape) / 3)
        assert problem.value(policy, beta) < value - 1e-3


def test_rewards_and_reference_of_ones_own():
    problem = Problem(
        3,
        2,
        rewards=lambda response: float(response.count(0)),
        reference=lambda prefix: [0.0, float(len(prefix)), 1.0],
    )
    by_text = {
        tuple(r[m].tolist()): v for r, m, v in zip(problem.responses, problem.mask, problem.rewards)
    }
    assert by_text[0, 0] == 2 and by_text[2,] == 0 and by_text[1, 0] == 1
    np.testing.assert_array_equal(problem.ref_logits, [[0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1]])
    assert len(by_text) == 1 + 2 * 3 and set(itertools.chain(*by_text)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rewards": [1.0]}, r"rewards must be finite numbers of shape \[7\]. Received: \[1\]"),
        ({"rewards": lambda response: float("nan")}, "rewards must be finite"),
        ({"reference": np.zeros((2, 3))}, r"reference must be finite numbers of shape \[4, 3\]"),
        ({"discount": 1.5}, "discount must be between 0 and 1. Received: discount=1.5"),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(ValueError, match=message):
        Problem(3, 2, **given)
    with pytest.raises(ValueError, match="beta must be positive"):
        Problem(3, 2).optimum(0)


@pytest.mark.slow  # and a doctest of docs/algorithms.md
def test_an_algorithm_reaches_it():
    problem = Problem(3, 2, rewards=lambda response: 2.0 * (response == (1, 0)))
    policy = train(problem, "rloo", beta=0.5, steps=100, batch_size=128)
    optimum = problem.optimum(0.5)
    assert total_variation(problem.probabilities(problem.policy()), optimum) > 0.2
    assert total_variation(problem.probabilities(policy), optimum) < 0.02
    with pytest.raises(ValueError, match="gamma does not apply to the algorithm"):
        train(Problem(3, 2, discount=0.9), "rloo", beta=0.5, steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reinforce", "ppo"])
def test_a_discounted_optimum_is_reached(name):
    problem = Problem(4, 3, discount=0.6)
    other = Problem(4, 3).optimum(0.5)
    assert total_variation(other, problem.optimum(0.5)) > 0.1  # the discount matters
    policy = train(problem, name, beta=0.5, steps=400, batch_size=512)
    assert total_variation(problem.probabilities(policy), problem.optimum(0.5)) < 0.05
