"""The PPO objective against NumPy, with the model's outputs given."""

import keras
import numpy as np
import pytest

from tfalign import backend
from tfalign.objectives import PPO
from tfalign.types import Rollout

B, P, R, V = 3, 2, 4, 5


class GivenActorCritic:
    """Says the same logits and values whatever it is asked."""

    def __init__(self, logits, values):
        self.outputs = logits, values
        self.policy = self

    def __call__(self, token_ids, padding_mask, response_length):
        assert response_length == R
        return self.outputs

    def logits(self, hidden):
        return hidden


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def logits(rng):
    return rng.normal(size=(B, R, V)).astype("float32")


@pytest.fixture
def values(rng):
    return rng.normal(size=(B, R)).astype("float32")


@pytest.fixture
def rollout(rng):
    mask = np.arange(R) < np.array([[4], [2], [1]])

    def numbers():
        return np.where(mask, rng.normal(size=(B, R)), 0).astype("float32")

    return Rollout(
        token_ids=rng.integers(0, V, (B, P + R)).astype("int32"),
        padding_mask=np.concatenate([np.ones((B, P), "bool"), mask], axis=1),
        response_mask=mask,
        log_probs=numbers() - 1.6,
        ref_log_probs=numbers(),
        values=numbers(),
        rewards=numbers(),
        advantages=numbers(),
        returns=numbers(),
        scores=np.zeros(B, "float32"),
    )


def oracle(objective, logits, values, batch):
    """Every term of the loss in mean over real tokens, and the metrics, in float64."""
    table = log_softmax(logits.astype("float64") / objective.temperature)
    real = batch.response_mask
    new = np.take_along_axis(table, batch.token_ids[:, -R:, None], -1)[..., 0][real]
    old, advantages = batch.log_probs[real], batch.advantages[real]
    ratio = np.exp(new - old)
    held = np.clip(ratio, 1 - objective.clip, 1 + objective.clip)
    v, v_old, returns = values[real], batch.values[real], batch.returns[real]
    v_held = np.clip(v, v_old - objective.value_clip, v_old + objective.value_clip)
    return {
        "policy_loss": -np.minimum(ratio * advantages, held * advantages).mean(),
        "value_loss": 0.5 * np.maximum((v - returns) ** 2, (v_held - returns) ** 2).mean(),
        "entropy": -(np.exp(table) * table).sum(-1)[real].mean(),
        "clip_fraction": (held * advantages < ratio * advantages).mean(),
        "approx_kl": 0.5 * ((new - old) ** 2).mean(),
        "value_error": ((v - returns) ** 2).mean(),
        "max_log_ratio": np.abs(new - old).max(),
    }


@pytest.mark.parametrize(
    "objective",
    [
        PPO(),
        PPO(temperature=0.7),
        PPO(clip=0.5, value_clip=0.05),
        PPO(value_coefficient=0.0),
        PPO(value_coefficient=2.0, entropy_coefficient=0.3),
    ],
    ids=["defaults", "cooler", "tighter values", "no values", "entropy"],
)
def test_terms_and_coefficients(objective, logits, values, rollout):
    loss_sum, weight, metrics = objective(GivenActorCritic(logits, values), rollout)
    expected = oracle(objective, logits, values, rollout)
    assert float(weight) == rollout.response_mask.sum() == 7
    assert metrics.keys() == expected.keys()
    for name, (total, count) in metrics.items():
        np.testing.assert_allclose(float(total / count), expected[name], rtol=2e-6, err_msg=name)
    loss = (
        expected["policy_loss"]
        + objective.value_coefficient * expected["value_loss"]
        - objective.entropy_coefficient * expected["entropy"]
    )
    np.testing.assert_allclose(float(loss_sum / weight), loss, rtol=2e-6)
    assert 0 < expected["clip_fraction"] < 1  # both branches were taken


def test_padding_decides_nothing(logits, values, rollout):
    def outcome(logits, values, rollout):
        loss, weight, metrics = PPO(entropy_coefficient=0.1)(
            GivenActorCritic(logits, values), rollout
        )
        return [float(x) for x in (loss, weight, *sum(metrics.values(), ()))]

    padding = ~rollout.response_mask
    spoiled = {"log_probs": np.inf, "values": np.nan, "advantages": np.nan, "returns": np.inf}
    assert outcome(logits, values, rollout) == outcome(
        np.where(padding[..., None], np.nan, logits).astype("float32"),
        np.where(padding, np.nan, values).astype("float32"),
        rollout._replace(
            **{
                name: np.where(padding, value, getattr(rollout, name)).astype("float32")
                for name, value in spoiled.items()
            }
        ),
    )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradient_at_ratio_one_is_the_policy_gradient(logits, values, rollout, temperature):
    """d/dz of -A log softmax(z / T)[token] is -A ([token] - p) / T, over the real tokens."""
    table = log_softmax(logits.astype("float64") / temperature)
    tokens = rollout.token_ids[:, -R:, None]
    own = np.take_along_axis(table, tokens, -1)[..., 0].astype("float32")
    variable = keras.Variable(logits)

    def loss():
        objective = PPO(temperature=temperature, value_coefficient=0.0)
        model = GivenActorCritic(keras.ops.convert_to_tensor(variable), values)
        loss_sum, weight, metrics = objective(model, rollout._replace(log_probs=own))
        return loss_sum, (weight, metrics)

    compiled = backend.jit(lambda: backend.value_and_grad(loss, [variable]), [variable])
    _, (_, metrics), (gradient,) = compiled()
    at_token = np.arange(V) == tokens
    expected = -rollout.advantages[..., None] * (at_token - np.exp(table)) / temperature
    expected = np.where(rollout.response_mask[..., None], expected, 0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(gradient), expected, atol=2e-6)
    assert float(metrics["clip_fraction"][0]) == 0
    assert float(metrics["max_log_ratio"][0]) < 1e-6


@pytest.mark.parametrize("wrong", [{"clip": 0.0}, {"value_clip": -1.0}, {"temperature": 0.0}])
def test_wrong_choices_are_told(wrong, logits, values, rollout):
    (received,) = wrong.values()
    with pytest.raises(ValueError, match=f"must be positive.* Received: .*={received}"):
        PPO(**wrong)(GivenActorCritic(logits, values), rollout)


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_logits_of_a_chunk_at_a_time_are_the_same(logits, values, rollout, chunk):
    """12 positions: alone, in three chunks of which the last is not full, and in one too large for them."""

    class WithKernel(GivenActorCritic):
        """Its states are logits already: the read-out kernel is the unit matrix."""

        def readout_kernel(self):
            return np.eye(V, dtype="float32")

    objective = {"temperature": 0.7, "entropy_coefficient": 0.1, "kl_coefficient": 0.2}
    model = WithKernel(logits, values)
    loss, weight, metrics = PPO(**objective)(model, rollout)
    chunked_loss, chunked_weight, chunked_metrics = PPO(chunk=chunk, **objective)(model, rollout)
    np.testing.assert_allclose(chunked_loss, loss, rtol=1e-5)
    assert float(chunked_weight) == float(weight)
    assert chunked_metrics.keys() == metrics.keys()
    for name, (total, count) in metrics.items():
        np.testing.assert_allclose(chunked_metrics[name][0], total, rtol=1e-5, atol=1e-6)
        assert float(chunked_metrics[name][1]) == float(count)
