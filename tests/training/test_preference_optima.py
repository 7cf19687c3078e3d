"""Losses of preferences arrive where theory says: at pi*, or at the point they themselves define.

The points of the other losses are worked out for two responses of one token, of which the first is
preferred with probability q: p is its probability, s = logit(p), and the gradient with respect to s
is set to 0 by hand.
"""

import keras
import numpy as np
import pytest

from experiments.studies.exact_preferences import (
    ExactPreferencesConfig,
    bradley_terry,
    method,
    reference_responses,
    solve,
)
from tests.sampling import with_slow
from tfalign.enumerable import Problem, total_variation
from tfalign.objectives import CPO, DPO, IPO, KTO, ORPO, SimPO, SLiC
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay
from tfalign.types import LabelledResponses

SMALL, TWO = Problem(3, 2), Problem(2, 1)
MARK = 0.05
REF = float(np.diff(TWO.ref_logits[0])[0] * -1)  # the reference's logit of the first of the two
Q = 0.7


@pytest.fixture(scope="module")
def whole():
    return Problem(6, 4)


def distance(problem, name, beta, **changes):
    policy = solve(problem, *method(name, problem, beta), ExactPreferencesConfig(**changes))
    return total_variation(problem.probabilities(policy), problem.optimum(beta))


@pytest.mark.parametrize("name", with_slow(["dpo", "ipo", "robust_dpo"], ["ipo"]))
def test_a_small_problem_is_solved(name):
    assert distance(SMALL, name, 0.5, steps=150, batch_size=64) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", ["dpo", "ipo", "robust_dpo"])
def test_six_tokens_four_steps(whole, name, beta):
    start = total_variation(whole.probabilities(whole.policy()), whole.optimum(beta))
    assert start > 0.3
    assert distance(whole, name, beta) <= MARK


def test_wrong_labels_lead_plain_dpo_astray():
    """The same labels that robust DPO is told of: the loss, not the data, makes the difference."""
    _, wrong = method("robust_dpo", SMALL, 0.5)
    policy = solve(SMALL, DPO(beta=0.5), wrong, ExactPreferencesConfig(steps=150, batch_size=64))
    assert total_variation(SMALL.probabilities(policy), SMALL.optimum(0.5)) > 0.1


def test_ipo_maximises_the_win_rate():
    """Of Bradley-Terry preferences: pi_ref exp(mean win rate / tau), the opponents uniform. (The gaps
    are a least squares fit of (p - 1/2) / tau, whose additive part that is.)"""
    preference, everyone = bradley_terry(SMALL.rewards), np.arange(7)
    win_rates = preference(everyone[:, None], everyone[None, :]).mean(axis=1)
    policy = solve(
        SMALL,
        IPO(beta=0.5, per_token=False),
        preference,
        ExactPreferencesConfig(steps=200, batch_size=512, learning_rate=0.05),
    )
    expected = SMALL.optimum(0.5, win_rates)
    assert total_variation(SMALL.probabilities(policy), expected) < 0.01
    assert total_variation(expected, SMALL.probabilities(SMALL.policy())) > 0.1


def test_ipo_per_token_weighs_long_responses_more():
    """log pi / pi_ref = |y| (r / beta + c), where c makes the probabilities sum to 1."""
    spread = float(np.ptp(SMALL.rewards))
    _, linear = method("ipo", SMALL, 0.5)
    policy = solve(
        SMALL,
        IPO(beta=0.5 / (2 * spread)),
        linear,
        ExactPreferencesConfig(steps=200, batch_size=64),
    )
    reference, lengths = SMALL.probabilities(SMALL.policy()), SMALL.mask.sum(axis=1)

    def weights(c):
        return reference * np.exp(lengths * (SMALL.rewards / 0.5 + c))

    expected = weights(root(lambda c: weights(c).sum() - 1, -20, 20))
    assert total_variation(SMALL.probabilities(policy), expected) < 0.01
    assert total_variation(expected, SMALL.optimum(0.5)) > 0.05


def root(function, low, high):
    """Of an increasing function, by bisection."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return middle


def sigma(x):
    return 1 / (1 + np.exp(-x))


OPTIMA = {  # objective -> the s at which its gradient is 0
    "cdpo": (
        DPO(beta=0.5, label_smoothing=0.1),
        lambda: root(lambda s: sigma(0.5 * (s - REF)) - (0.9 * Q + 0.1 * (1 - Q)), -20, 20),
    ),
    "slic": (SLiC(beta=0.5), lambda: REF + 1 / 0.5),  # the kink: 1 / beta, for any q over 1/2
    "orpo": (
        ORPO(beta=0.8),
        lambda: root(lambda s: sigma(s) + 1.6 * sigma(2 * s) - Q * 2.6, -20, 20),
    ),
    "simpo": (
        SimPO(beta=1.5, gamma=0.4),
        lambda: root(lambda s: (1 - Q) * sigma(1.5 * s + 0.4) - Q * sigma(0.4 - 1.5 * s), -20, 20),
    ),
    "cpo": (
        CPO(beta=0.5, nll_coefficient=0.3),
        lambda: root(lambda s: 0.3 * (sigma(s) - Q) + 0.5 * (sigma(0.5 * s) - Q), -20, 20),
    ),
}


def logit_of_the_first(policy):
    p = TWO.probabilities(policy)
    return np.log(p[0] / p[1])


@pytest.mark.parametrize("name", with_slow(OPTIMA, ["simpo"]))
def test_the_others_arrive_at_their_own_optimum(name):
    objective, optimum = OPTIMA[name]
    policy = solve(
        TWO,
        objective,
        lambda one, other: np.where(one == 0, Q, 1 - Q),
        ExactPreferencesConfig(steps=300, batch_size=4),
    )
    assert logit_of_the_first(policy) == pytest.approx(optimum(), abs=0.01)
    assert abs(optimum() - REF) > 0.1


def kto_policy(liked, objective, steps=400):
    """From ten judgements of each of the two responses, ``liked`` of which are good."""
    response = np.repeat([0, 1], 10)
    desirable = np.concatenate([np.arange(10) < n for n in liked])
    chosen = np.stack([response, np.tile([0, 1], 10)], axis=1)  # beside it, one or the other
    fields = (field[chosen] for field in reference_responses(TWO)[:4])
    batch = LabelledResponses(*fields, desirable)
    policy = TWO.policy()
    schedule = WarmupDecay(0.1, steps, shape="linear")
    learner = Learner(policy, objective, keras.optimizers.Adam(schedule, beta_2=0.99))
    for _ in range(steps):
        learner.update(batch)
    return policy


def test_kto_arrives_where_its_forces_balance():
    """Of both responses more are liked than not, so both pull: with x = beta (Delta - z) and w the
    liked less the disliked, w_0 sigma'(x_0) (1 - p) = w_1 sigma'(x_1) p."""
    beta, liked = 0.5, (9, 6)

    def imbalance(s):
        p = sigma(s)
        log_ratios = np.log([p, 1 - p]) - np.log([sigma(REF), 1 - sigma(REF)])
        x = beta * (log_ratios - max(log_ratios.mean(), 0.0))
        pulls = (2 * np.array(liked) - 10) * sigma(x) * (1 - sigma(x))
        return pulls[1] * p - pulls[0] * (1 - p)

    policy = kto_policy(liked, KTO(beta=beta))
    assert logit_of_the_first(policy) == pytest.approx(root(imbalance, -20, 20), abs=0.01)


@pytest.mark.slow
def test_kto_keeps_to_what_most_like():
    """A response that more dislike than like is driven out, whatever the reference."""
    p = TWO.probabilities(kto_policy((4, 7), KTO(beta=0.5)))
    assert p[1] > 0.95
    weighed = KTO(beta=0.5, undesirable_weight=0.25)  # now 4 likes outweigh 6 dislikes
    assert TWO.probabilities(kto_policy((4, 7), weighed))[0] > 0.1
