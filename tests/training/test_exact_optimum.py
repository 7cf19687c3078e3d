"""Algorithms arrive at the exact optimum pi_ref exp(reward / beta) / Z of an enumerable problem."""

import json

import keras
import numpy as np
import pytest

from experiments.studies.enumerable import mirror, no_repeats
from experiments.studies.exact_optimum import ExactOptimumConfig, solve, with_kl_in_reward
from tfalign.decoding import Greedy, generate
from tfalign.enumerable import Problem, total_variation
from tfalign.functional.kl import k2, k3
from tfalign.models import Actor
from tfalign.objectives import Reinforce
from tfalign.training.algorithms import POLICY_GRADIENTS, algorithm
from tfalign.training.credit import LeaveOneOut
from tfalign.training.kl_control import FixedKL
from tfalign.training.lagrange import CostLimit, CostLimits
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import WarmupDecay
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker

SMALL = Problem(3, 2)
MARK = 0.05
NAMES = [
    name if name == "rloo" else pytest.param(name, marks=pytest.mark.exhaustive)
    for name in ("ppo", "reinforce", "rloo", "grpo")
]
BETAS = [
    pytest.param(0.3, marks=pytest.mark.exhaustive),
    0.5,
    pytest.param(1.0, marks=pytest.mark.exhaustive),
]


@pytest.fixture(scope="module")
def whole():
    return Problem(6, 4)


def distance(problem, name, beta, **changes):
    policy = solve(problem, with_kl_in_reward(name, beta), ExactOptimumConfig(**changes))
    return total_variation(problem.probabilities(policy), problem.optimum(beta))


@pytest.mark.parametrize(
    ("name", "steps"), [pytest.param("ppo", 40, marks=pytest.mark.slow), ("rloo", 100)]
)
def test_a_small_problem_is_solved(name, steps):
    assert distance(SMALL, name, 0.5, steps=steps, batch_size=128) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("name", ["ppo", *NAMES[1:]])
def test_six_tokens_four_steps(whole, name, beta):
    start = total_variation(whole.probabilities(whole.policy()), whole.optimum(beta))
    assert start > 0.3
    assert distance(whole, name, beta) <= MARK


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_constrained_optimum_is_reached():
    problem = Problem(3, 2, constraint=no_repeats(3, 2))
    assert [tuple(r[m]) for r, m in zip(problem.responses, problem.mask)] == [(0, 2), (1, 2), (2,)]
    assert problem.probabilities(problem.policy()).sum() == pytest.approx(1)
    assert distance(problem, "rloo", 0.5, steps=100, batch_size=128) < 0.02


def test_conversations_by_hand():
    """Two tokens, of which 1 stops, three columns: the user repeats what was said first, turned over."""
    problem = Problem(2, 3, user=mirror(2))
    said = [(tuple(r[w]), tuple(m[w])) for r, m, w in zip(*problem.shown())]
    yes, no = True, False
    assert said == [
        ((0, 0, 0), (yes, yes, yes)),
        ((0, 0, 1), (yes, yes, yes)),
        ((0, 1, 0), (yes, yes, no)),
        ((1, 0, 0), (yes, no, yes)),
        ((1, 0, 1), (yes, no, yes)),
    ]
    assert problem.probabilities(problem.policy()).sum() == pytest.approx(1)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_optimum_of_conversations_is_reached():
    problem = Problem(3, 3, user=mirror(3))
    assert distance(problem, "rloo", 0.5, steps=150, batch_size=128) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS[1:])
@pytest.mark.parametrize("name", NAMES)
def test_conversations_of_two_turns(name, beta):
    """At 0.3 PPO and REINFORCE end at 0.065 and 0.067, see docs/results/exact_optima.md."""
    problem = Problem(6, 4, user=mirror(6))
    assert total_variation(problem.probabilities(problem.policy()), problem.optimum(beta)) > 0.2
    assert distance(problem, name, beta) <= MARK


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("name", NAMES)
def test_constrained_six_tokens_four_steps(name, beta):
    problem = Problem(6, 4, constraint=no_repeats(6, 4))
    start = problem.probabilities(problem.policy())
    assert total_variation(start, problem.optimum(beta)) > 0.2
    assert distance(problem, name, beta) <= MARK


OTHERS = sorted(set(POLICY_GRADIENTS) - {"ppo", "reinforce", "rloo", "grpo", "turn_ppo"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "gspo" else pytest.mark.exhaustive) for name in OTHERS],
)
def test_the_others_too(whole, name):
    """But turn_ppo, whose only turn is the whole response: 0.061, and 0.055 after twice the steps."""
    assert distance(whole, name, 0.5) <= MARK


@pytest.mark.slow
def test_a_kl_in_the_loss_has_a_fixed_point_of_its_own():
    """For responses of one token, from the zero of each gradient: with k2 it is pi*; with k3, whose
    gradient in the mean is that of KL(pi_ref || pi), it is beta pi_ref / (c - reward)."""
    problem, beta = Problem(5, 1), 0.5
    reference = problem.probabilities(problem.policy())
    low, high = problem.rewards.max(), problem.rewards.max() + 10.0
    for _ in range(60):  # c makes the probabilities sum to 1
        c = (low + high) / 2
        of_k3 = beta * reference / (c - problem.rewards)
        low, high = (c, high) if of_k3.sum() > 1 else (low, c)
    fixed_points = {k2: problem.optimum(beta), k3: of_k3}
    assert total_variation(*fixed_points.values()) > 0.1
    config = ExactOptimumConfig(steps=300, batch_size=256)
    for estimator, expected in fixed_points.items():
        chosen = algorithm("rloo", kl_in="loss", kl_coefficient=beta, kl_estimator=estimator)
        found = problem.probabilities(solve(problem, chosen, config))
        assert total_variation(found, expected) < 0.02


def test_the_problem_itself():
    """7 responses by hand: stop; 0 or 1 and then any of three."""
    assert SMALL.responses.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0]]
    assert SMALL.mask.sum(axis=1).tolist() == [2] * 6 + [1]
    policy = SMALL.policy()
    table = np.exp(SMALL.ref_logits.astype("float64"))
    table /= table.sum(axis=1, keepdims=True)
    by_hand = [*(table[0, 0] * table[1]), *(table[0, 1] * table[2]), table[0, 2]]
    np.testing.assert_allclose(SMALL.probabilities(policy), by_hand, rtol=1e-5)
    np.testing.assert_array_equal(SMALL.reward(*SMALL.inputs(), SMALL.mask), SMALL.rewards)


def test_the_table_decodes_as_it_scores():
    """The cached prefix of the decode loop is the one of the full pass."""
    policy = SMALL.policy()
    prompts = SMALL.prompts(2_000)
    drawn = generate(
        policy, prompts.token_ids, max_new_tokens=2, stop_tokens=(SMALL.stop_token,), seed=3
    )
    tokens = np.where(drawn.mask, drawn.tokens, 0)
    rows = [SMALL.responses.tolist().index(row) for row in tokens.tolist()]
    expected = SMALL.token_log_probs(policy)[rows]
    np.testing.assert_allclose(drawn.log_probs, expected, atol=1e-5)
    shares = np.bincount(rows, minlength=7) / 2_000
    p = SMALL.probabilities(policy)
    assert (np.abs(shares - p) < 4 * np.sqrt(p * (1 - p) / 2_000)).all()
    greedy = generate(
        policy, [[0]], max_new_tokens=2, sampler=Greedy(), stop_tokens=(SMALL.stop_token,)
    )
    assert np.asarray(greedy.tokens)[0, 0] == SMALL.ref_logits[0].argmax()


def test_optimum_is_where_no_reweighing_helps():
    """E[reward] - beta KL of pi* is beta log Z, and lower for any other distribution."""
    beta, reference = 0.5, SMALL.probabilities(SMALL.policy())
    best = SMALL.optimum(beta)

    def objective(p):
        return p @ SMALL.rewards - beta * (p @ np.log(p / reference))

    log_z = np.log(reference @ np.exp(SMALL.rewards / beta))
    assert objective(best) == pytest.approx(beta * log_z, abs=1e-6)
    rng = np.random.default_rng(0)
    assert all(objective(rng.dirichlet(np.ones(7))) < objective(best) for _ in range(100))


def dual_optimum(problem, costs, limits, beta):
    """(pi* of reward - prices . costs, prices): those that minimise the dual beta log Z + prices . limits."""
    from scipy.optimize import minimize

    reference = problem.probabilities(problem.policy())

    def dual(prices):
        weights = np.log(reference) + (problem.rewards - costs @ prices) / beta
        log_z = np.logaddexp.reduce(weights)
        return beta * log_z + prices @ limits, limits - np.exp(weights - log_z) @ costs

    start = np.ones(len(limits))
    found = minimize(dual, start, jac=True, bounds=[(0, None)] * len(limits), method="L-BFGS-B")
    return problem.optimum(beta, problem.rewards - costs @ found.x), found.x


COSTS = np.random.default_rng(9).normal(size=(7, 2)).astype("float32")
PRICES = np.array([1.0, 0.6])


def limits_of(prices, beta):
    """The limits at which these prices are the optimal ones."""
    return SMALL.optimum(beta, SMALL.rewards - COSTS @ prices) @ COSTS


def test_the_dual_optimum_itself():
    """The prices are those that the limits were made of, and no policy that holds the limits does better."""
    beta = 0.5
    reference = SMALL.probabilities(SMALL.policy())
    limits = limits_of(PRICES, beta)
    best, prices = dual_optimum(SMALL, COSTS, limits, beta)
    np.testing.assert_allclose(prices, PRICES, atol=1e-3)
    _, free = dual_optimum(SMALL, COSTS, limits + [0, 9], beta)
    assert free[1] == 0  # of a limit that nothing breaks

    def objective(p):
        return p @ SMALL.rewards - beta * (p @ np.log(p / reference))

    rng = np.random.default_rng(0)
    others = [0.8 * best + 0.2 * rng.dirichlet(best + 0.1) for _ in range(2000)]
    allowed = [p for p in others if (p @ COSTS <= limits).all()]
    assert len(allowed) > 20 and all(objective(p) < objective(best) for p in allowed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "gains",
    [{"rate": 0.02}, {"rate": 0.05, "proportional": 0.5, "derivative": 0.2}],
    ids=["integral", "PID"],
)
def test_two_expected_costs_are_held_at_their_limits(gains):
    """The tilted optimum pi_ref exp((reward - prices . costs) / beta) is reached, and its prices; the two costs pull
    against each other, so that at a rate of 0.05 the integral alone swings and does not settle."""
    beta, steps = 0.5, 200
    limits = limits_of(PRICES, beta)
    optimum, prices = dual_optimum(SMALL, COSTS, limits, beta)
    assert total_variation(SMALL.optimum(beta), optimum) > 0.2
    cost_limits = CostLimits(
        {
            name: CostLimit(SMALL.table(costs), limit, **gains)
            for name, costs, limit in zip("ab", COSTS.T, limits)
        }
    )
    policy = SMALL.policy()
    worker = RolloutWorker(
        Actor(policy),
        SMALL.policy(),
        SMALL.reward,
        RolloutConfig(2, stop_tokens=(SMALL.stop_token,), group_size=4),
        LeaveOneOut(),
        cost_limits=cost_limits,
    )
    optimizer = keras.optimizers.Adam(WarmupDecay(0.1, steps, shape="linear"))
    learner = Learner(worker.actor_critic, Reinforce(), optimizer)
    tail = []
    for step in range(1, steps + 1):
        _, metrics = improve(
            worker, learner, SMALL.prompts(64), FixedKL(beta), seed=0, step=step, epochs=1
        )
        tail.append(cost_limits.prices)
    found = SMALL.probabilities(policy)
    assert (found @ COSTS <= limits + 0.05).all()
    assert total_variation(found, optimum) <= MARK
    np.testing.assert_allclose(np.mean(tail[-50:], axis=0), prices, rtol=0.1)
    charged = sum(metrics[f"price_{name}"] * metrics[f"cost_{name}"] for name in "ab")
    assert metrics["score"] == pytest.approx(metrics["reward"] - charged, abs=1e-4)
    assert metrics["first_max_log_ratio"] <= 1e-5


def test_a_cost_under_its_limit_is_free():
    cost_limit = CostLimit(None, limit=1.0, rate=0.5, price=0.2)
    cost_limit.update(0.9)
    assert cost_limit.price == pytest.approx(0.15)
    cost_limit.update(0.0)
    assert cost_limit.price == 0.0
    cost_limit.update(3.0)
    assert cost_limit.price == 1.0
    with pytest.raises(ValueError, match="Received: rate=0, price=0.0"):
        CostLimit(None, 1.0, rate=0)
    with pytest.raises(ValueError, match="derivative=-1"):
        CostLimit(None, 1.0, derivative=-1)
    with pytest.raises(ValueError, match="limit=nan"):
        CostLimit(None, float("nan"))
    with pytest.raises(ValueError, match="one limit at least"):
        CostLimits({})
    for mean_cost in (float("nan"), float("inf")):  # of a batch that overflowed
        before = cost_limit.price
        cost_limit.update(mean_cost)
        assert cost_limit.price == before


def test_a_controller_by_hand_and_from_a_checkpoint():
    """Stooke et al. 2020, algorithm 2: proportional 1, integral 0.5, derivative 2, limit 1."""
    limits = CostLimits({"a": CostLimit(None, 1.0, 0.5, proportional=1.0, derivative=2.0)})
    costs = [2.0, 4.0, 3.0, 0.0]
    # excess 1, 3, 2, -1; integral 0.5, 2, 3, 2.5; rise 0, 2, 0, 0
    for cost, price in zip(costs, [1.5, 9.0, 5.0, 1.5]):
        limits.update({"a": cost})
        assert limits.prices.tolist() == [price]
    resumed = CostLimits({"a": CostLimit(None, 1.0, 0.5, proportional=1.0, derivative=2.0)})
    resumed.restore(json.loads(json.dumps(limits.state())))
    for one in (limits, resumed):
        one.update({"a": 2.0})  # excess 1, integral 3, rise 2
        assert one.prices.tolist() == [8.0]
