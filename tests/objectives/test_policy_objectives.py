"""The on-policy objectives: their surrogates in NumPy, aggregation, KL terms, and what is extreme."""

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.functional import kl
from tfalign.functional.aggregation import fixed_length_mean, sequence_mean, token_mean
from tfalign.objectives import A2C, GRPO, GSPO, PPO, Reinforce, TruncatedImportance, VTrace
from tfalign.types import Rollout

B, P, R, V = 4, 2, 5, 6
MASK = np.arange(R) < np.array([[5], [3], [1], [2]])
EVERY = [A2C, GRPO, GSPO, PPO, Reinforce, TruncatedImportance, VTrace]


class GivenActorCritic:
    """Says the same logits and values whatever it is asked."""

    def __init__(self, logits, values):
        self.outputs = logits, values
        self.policy = self

    def __call__(self, token_ids, padding_mask, response_length):
        return self.outputs

    def logits(self, hidden):
        return hidden


def case(seed=0, scale=1.0):
    """(logits, values, Rollout), all numbers random; log-probs are of order ``scale`` below 0."""
    rng = np.random.default_rng(seed)

    def numbers(scale=1.0):
        return np.where(MASK, scale * rng.normal(size=(B, R)), 0).astype("float32")

    rollout = Rollout(
        token_ids=rng.integers(0, V, (B, P + R)).astype("int32"),
        padding_mask=np.concatenate([np.ones((B, P), "bool"), MASK], axis=1),
        response_mask=MASK,
        log_probs=-np.abs(numbers(scale)),
        ref_log_probs=-np.abs(numbers(scale)),
        values=numbers(),
        rewards=numbers(),
        advantages=numbers(),
        returns=numbers(),
        scores=np.zeros(B, "float32"),
    )
    return (scale * rng.normal(size=(B, R, V))).astype("float32"), numbers(), rollout


def log_probs_of(logits, rollout):
    table = logits.astype("float64")
    table = table - np.log(np.exp(table - table.max(-1, keepdims=True)).sum(-1, keepdims=True))
    table = table - logits.max(-1, keepdims=True)
    return np.take_along_axis(table, rollout.token_ids[:, -R:, None], -1)[..., 0]


def mean_of_rows(x):
    return np.mean([row[real].mean() for row, real in zip(x, MASK)])


ORACLES = {
    "reinforce": (Reinforce(), lambda new, old, a: -(a * new)[MASK].mean()),
    "grpo": (
        GRPO(clip=0.3, clip_high=0.5, kl_coefficient=0.0),
        lambda new, old, a: mean_of_rows(
            -np.minimum(np.exp(new - old) * a, np.clip(np.exp(new - old), 0.7, 1.5) * a)
        ),
    ),
    "cispo": (
        TruncatedImportance(cap=1.3),
        lambda new, old, a: -(np.minimum(np.exp(new - old), 1.3) * a * new)[MASK].mean(),
    ),
    "gspo": (
        GSPO(clip=0.1, clip_high=0.2),
        lambda new, old, a: np.mean(
            [
                -np.minimum(s * row[real], np.clip(s, 0.9, 1.2) * row[real]).mean()
                for s, row, real in zip(sequence_ratios(new, old), a, MASK)
            ]
        ),
    ),
}


def sequence_ratios(log_probs, old):
    """pi(y) / pi_old(y) to the power of one over the length."""
    lengths = MASK.sum(axis=1)
    return np.exp(np.where(MASK, log_probs - old, 0).sum(axis=1)) ** (1 / lengths)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", range(3))
def test_surrogates(name, seed):
    objective, oracle = ORACLES[name]
    logits, values, rollout = case(seed)
    total, weight, metrics = objective(GivenActorCritic(logits, None), rollout)
    log_probs = log_probs_of(logits, rollout)
    expected = oracle(log_probs, rollout.log_probs.astype("float64"), rollout.advantages)
    np.testing.assert_allclose(float(total / weight), expected, rtol=2e-5)
    assert float(metrics["policy_loss"][1]) == MASK.sum()


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
@pytest.mark.parametrize("aggregate", [token_mean, sequence_mean, fixed_length_mean])
def test_a_kl_in_the_loss_is_added_and_aggregated_alike(name, aggregate):
    logits, _, rollout = case(1)
    model, estimator = GivenActorCritic(logits, None), getattr(kl, name)
    plain, weight, _ = GRPO(kl_coefficient=0.0, aggregate=aggregate)(model, rollout)
    with_kl, same, metrics = GRPO(kl_coefficient=0.3, kl_estimator=estimator, aggregate=aggregate)(
        model, rollout
    )
    log_probs = log_probs_of(logits, rollout).astype("float32")
    per_token = ops.convert_to_numpy(estimator(log_probs, rollout.ref_log_probs))
    total, _ = aggregate(per_token, MASK)
    np.testing.assert_allclose(float(with_kl - plain), 0.3 * float(total), rtol=1e-4, atol=1e-5)
    assert float(weight) == float(same)
    mean = float(metrics["kl_loss"][0] / metrics["kl_loss"][1])
    np.testing.assert_allclose(mean, per_token[MASK].mean(), rtol=1e-4)


@pytest.mark.parametrize("objective", [GRPO(), GSPO(), Reinforce(), TruncatedImportance()])
def test_a_group_of_equal_scores_moves_the_policy_by_its_kl_alone(objective):
    logits, _, rollout = case(2)
    gradient, _ = gradient_of(objective, logits, None, rollout._replace(advantages=0 * MASK))
    if objective.kl_coefficient:
        assert np.abs(gradient[MASK]).max() > 1e-4
    else:
        assert not gradient.any()


def gradient_of(objective, logits, values, rollout):
    variable = keras.Variable(logits)
    rollout = rollout._replace(advantages=np.asarray(rollout.advantages, "float32"))

    def loss():
        model = GivenActorCritic(ops.convert_to_tensor(variable), values)
        total, weight, metrics = objective(model, rollout)
        return total, (weight, metrics)

    total, (_, metrics), (gradient,) = backend.value_and_grad(loss, [variable])
    metrics = [float(x) for pair in metrics.values() for x in pair]
    return ops.convert_to_numpy(gradient), [float(total), *metrics]


@pytest.mark.parametrize("objective", EVERY)
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3, 1e4])
def test_extreme_log_probs_leave_everything_finite(objective, scale):
    """Ratios of e**1000 and references that all but exclude a token, with every KL estimator."""
    for seed in range(3):
        logits, values, rollout = case(seed, scale)
        for estimator in (kl.k1, kl.k2, kl.k3):
            chosen = objective(kl_coefficient=0.1, kl_estimator=estimator, entropy_coefficient=0.1)
            gradient, numbers = gradient_of(chosen, logits, values, rollout)
            assert np.isfinite(gradient).all(), (objective, estimator)
            assert np.isfinite(numbers).all(), (objective, estimator)


@pytest.mark.parametrize("objective", EVERY)
def test_padding_has_no_gradient_and_an_empty_row_no_part(objective):
    logits, values, rollout = case(3)
    mask = MASK.copy()
    mask[2] = False
    zeroed = {
        name: np.where(mask, getattr(rollout, name), 0)
        for name in ("log_probs", "ref_log_probs", "values", "rewards", "advantages", "returns")
    }
    gradient, numbers = gradient_of(
        objective(), logits, values, rollout._replace(response_mask=mask, **zeroed)
    )
    assert not gradient[~mask].any() and np.abs(gradient[mask]).max() > 0
    assert np.isfinite(numbers).all()
    nothing = rollout._replace(response_mask=np.zeros_like(MASK))
    gradient, numbers = gradient_of(objective(), logits, values, nothing)
    assert not gradient.any() and np.isfinite(numbers).all()


@pytest.mark.parametrize(
    "wrong", [GRPO(clip=-0.1), GSPO(clip_high=0.0), TruncatedImportance(cap=0)]
)
def test_wrong_choices_are_told(wrong):
    logits, values, rollout = case()
    with pytest.raises(ValueError, match="must be positive. Received: "):
        wrong(GivenActorCritic(logits, values), rollout)
