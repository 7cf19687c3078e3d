"""Schedules at chosen steps, and what AdamW decays."""

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.models import CausalLM, GPTConfig, SharedActorCritic
from tfalign.training.optimizers import Adafactor, InverseSquareRoot, WarmupDecay, adafactor, adamw


@pytest.mark.parametrize(
    ("shape", "final", "expected"),
    [
        # step:      0    1    3    4    9    14   99
        ("constant", 0.0, [0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
        ("linear", 0.0, [0.5, 1.0, 2.0, 2.0, 1.0, 0.0, 0.0]),
        ("linear", 0.1, [0.5, 1.0, 2.0, 2.0, 1.1, 0.2, 0.2]),
        ("cosine", 0.0, [0.5, 1.0, 2.0, 2.0, 1.0, 0.0, 0.0]),
        ("cosine", 0.5, [0.5, 1.0, 2.0, 2.0, 1.5, 1.0, 1.0]),
    ],
)
def test_schedule(shape, final, expected):
    """Peak 2 after four warm-up steps, ten steps of decay."""
    schedule = WarmupDecay(2.0, 14, warmup_steps=4, shape=shape, final=final)
    values = [float(schedule(step)) for step in (0, 1, 3, 4, 9, 14, 99)]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    again = WarmupDecay.from_config(schedule.get_config())
    assert [float(again(step)) for step in (0, 1, 3, 4, 9, 14, 99)] == values


def test_cosine_is_not_linear_between():
    quarter = float(WarmupDecay(1.0, 100, shape="cosine")(25))
    np.testing.assert_allclose(quarter, 0.5 + 0.5 * np.cos(np.pi / 4), rtol=1e-6)


def test_the_original_papers_schedule():
    """d^-0.5 min(step^-0.5, step warmup^-1.5) with d = 512 and 4,000 steps peaks at 0.000699."""
    schedule = InverseSquareRoot(512, 4000)
    rates = {step: float(schedule(step - 1)) for step in (1, 2000, 4000, 16000)}
    peak = (512 * 4000) ** -0.5
    np.testing.assert_allclose(rates[4000], peak, rtol=1e-5)
    np.testing.assert_allclose(rates[4000], 6.99e-4, rtol=1e-3)
    np.testing.assert_allclose(
        [rates[1], rates[2000], rates[16000]], [peak / 4000, peak / 2, peak / 2], rtol=1e-5
    )
    twice = InverseSquareRoot.from_config(schedule.get_config() | {"factor": 2.0})
    np.testing.assert_allclose(float(twice(3999)), 2 * peak, rtol=1e-5)
    with pytest.raises(ValueError, match="warmup_steps=0"):
        InverseSquareRoot(512, 0)


def test_no_warmup_begins_at_the_peak():
    assert float(WarmupDecay(3.0, 10, shape="linear")(0)) == 3.0


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"shape": "step"}, "Received: 'step'"),
        ({"warmup_steps": 11}, "Received: warmup_steps=11, steps=10"),
    ],
)
def test_wrong_schedules_are_told(choices, message):
    with pytest.raises(ValueError, match=message):
        WarmupDecay(1.0, 10, **choices)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_adamw_decays_matrices_only(family):
    """Without a gradient, an update is the decay alone: w * (1 - rate * decay)."""
    config = GPTConfig(7, 8, 1, 2, max_positions=8)
    if family == "llama":
        config = config.replace(norm="rms", gated=True, rotary_base=1e4, tied=False)
    model = SharedActorCritic(CausalLM(config))
    for variable in model.trainable_variables:
        variable.assign(ops.ones(variable.shape))
    optimizer = adamw(0.1, weight_decay=0.5)
    optimizer.build(model.trainable_variables)
    optimizer.apply([ops.zeros(v.shape) for v in model.trainable_variables])
    for variable in model.trainable_variables:
        expected = 0.95 if len(variable.shape) > 1 else 1.0
        value = ops.convert_to_numpy(variable.value)
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=variable.path)


def test_adamw_step_by_hand():
    """Three steps of Loshchilov and Hutter's algorithm 2, epsilon in TensorFlow's form."""
    rate, decay, b1, b2, epsilon = 0.1, 0.2, 0.9, 0.95, 1e-3
    start = np.array([[0.5, -1.0], [2.0, 0.1]], "float32")
    variable = keras.Variable(start, name="kernel")
    optimizer = adamw(rate, weight_decay=decay, clip_norm=1.0, beta_2=b2, epsilon=epsilon)
    optimizer.build([variable])
    w, m, v = start.astype("float64"), 0.0, 0.0
    rng = np.random.default_rng(0)
    for step in range(1, 4):
        gradient = rng.normal(size=(2, 2)).astype("float32")
        optimizer.apply([gradient])
        clipped = gradient * min(1.0, 1.0 / np.linalg.norm(gradient))
        m, v = b1 * m + (1 - b1) * clipped, b2 * v + (1 - b2) * clipped**2
        w = w - rate * decay * w
        # m / (sqrt(v) + eps) with the corrections of both moments in the rate
        w = w - rate * np.sqrt(1 - b2**step) / (1 - b1**step) * m / (np.sqrt(v) + epsilon)
    np.testing.assert_allclose(ops.convert_to_numpy(variable.value), w, rtol=1e-5)


def test_no_decay_and_no_clipping():
    optimizer = adamw(0.1, weight_decay=0, clip_norm=None)
    assert not optimizer.weight_decay and optimizer.global_clipnorm is None


def applied(optimizer, start, gradients):
    """What a variable is after updates by each of the gradients: (its value, the optimizer)."""
    variable = keras.Variable(np.asarray(start, "float32"), name="kernel")
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(np.asarray(gradient, "float32"))], [variable])
    return np.asarray(variable), optimizer


def test_adafactor_by_hand():
    """A matrix: squares 1, 4, 9, 16; rows' means 2.5, 12.5, columns' 5, 10, all 7.5. The first update
    takes them whole (1 - 1^-0.8 = 0 of the past), and its size is held at 1."""
    gradient = np.array([[1.0, -2.0], [3.0, 4.0]])
    expected = np.outer([2.5, 12.5], [5.0, 10.0]) / 7.5
    update = gradient / np.sqrt(expected)
    update /= max(1.0, np.sqrt(np.mean(update**2)))
    after, optimizer = applied(Adafactor(0.1), np.ones((2, 2)), [gradient])
    np.testing.assert_allclose(after, 1 - 0.1 * update, rtol=1e-5)
    means = [np.asarray(v) for v in optimizer.variables if "mean" in v.path]
    np.testing.assert_allclose(np.concatenate(means), [2.5, 12.5, 5, 10], rtol=1e-6)


def test_adafactor_remembers_less_and_less_quickly():
    """A vector's own squares: after t updates the past counts 1 - t^-0.8."""
    gradients = [np.full(3, g) for g in (1.0, 2.0, 0.5)]
    mean = 0.0
    for step, gradient in enumerate(gradients, start=1):
        mean += step**-0.8 * (gradient[0] ** 2 - mean)
    _, optimizer = applied(Adafactor(0.1), np.zeros(3), gradients)
    (squares,) = (np.asarray(v) for v in optimizer.variables if "mean" in v.path)
    np.testing.assert_allclose(squares, mean, rtol=1e-5)


def test_what_the_optimizers_keep():
    """Numbers for a matrix of 30 x 20: Adam 2 x 600, Adafactor 30 + 20, one moment in half the bytes."""

    def kept(optimizer):
        _, optimizer = applied(optimizer, np.zeros((30, 20)), [])
        sizes = [(int(np.prod(v.shape)), str(v.dtype)) for v in optimizer.variables]
        return sorted((size, dtype) for size, dtype in sizes if size > 1)

    assert kept(adamw(0.1)) == [(600, "float32"), (600, "float32")]
    assert kept(adafactor(0.1)) == [(20, "float32"), (30, "float32")]
    assert kept(adamw(0.1, momentum_dtype="bfloat16")) == [(600, "bfloat16"), (600, "float32")]


def test_a_first_moment_in_bfloat16_ends_near_the_one_in_float32():
    random = np.random.default_rng(0)
    gradients = 0.3 + random.normal(size=(30, 4, 4))
    whole, _ = applied(adamw(0.01), np.zeros((4, 4)), gradients)
    half, _ = applied(adamw(0.01, momentum_dtype="bfloat16"), np.zeros((4, 4)), gradients)
    assert not np.array_equal(half, whole)
    np.testing.assert_allclose(half, whole, atol=0.02 * np.abs(whole).max())


@pytest.mark.parametrize("optimizer", [Adafactor(0.1), adamw(0.1, momentum_dtype="bfloat16")])
def test_an_optimizer_comes_back_from_its_config(optimizer):
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
