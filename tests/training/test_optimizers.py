"""Optimizers and schedules against their papers, a step at a time in NumPy; and what AdamW decays."""

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

from tfalign.models import CausalLM, GPTConfig, SharedActorCritic
from tfalign.training.optimizers import (
    Adafactor,
    InverseSquareRoot,
    Lamb,
    WarmupDecay,
    adafactor,
    adamw,
    lamb,
)


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
        ({"warmup_steps": -1}, "Received: peak=1.0, steps=10, warmup_steps=-1"),
        ({"final": 1.5}, "final=1.5"),
        ({"final": float("nan")}, "final=nan"),
        ({"shape": "constant", "final": 0.1}, "no final share. Received: final=0.1"),
    ],
)
def test_wrong_schedules_are_told(choices, message):
    with pytest.raises(ValueError, match=message):
        WarmupDecay(1.0, 10, **choices)


@pytest.mark.parametrize("choices", [(np.nan, 10), (np.inf, 10), (-1.0, 10), (1.0, 0)])
def test_a_schedule_of_no_numbers_is_told(choices):
    with pytest.raises(ValueError, match="Received: peak="):
        WarmupDecay(*choices)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (5, 5), (5, 4), (6, 1)])
def test_the_edges_of_a_schedule(shape, steps, warmup):
    """The first update of a warm-up has 1 / warmup_steps of the peak, its last one the peak; an update
    after the last of the run would have the final share. All in NumPy, at every step."""
    schedule = WarmupDecay(2.0, steps, warmup_steps=warmup, shape=shape, final=0.25)
    for step in range(steps + 3):
        done = min(max(step - warmup, 0) / max(steps - warmup, 1), 1.0)
        left = 1 - done if shape == "linear" else (1 + np.cos(np.pi * done)) / 2
        expected = 2.0 * (0.25 + 0.75 * left)
        if step < warmup:
            expected = 2.0 * (step + 1) / warmup
        np.testing.assert_allclose(float(schedule(step)), expected, rtol=1e-5)


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


def test_adafactor_in_three_steps():
    """Shazeer and Stern 2018, algorithm 4: factors of the squares over rows and columns, the share of
    the past 1 - t^-0.8, the update's root mean square held at d = 1; and decay apart from it."""
    rng = np.random.default_rng(3)
    gradients, rate, decay = rng.normal(size=(3, 2, 3)), 0.1, 0.2
    after, _ = applied(adafactor(rate, decay, clip_norm=None), np.ones((2, 3)), gradients)
    w, rows, columns = np.ones((2, 3)), np.zeros(2), np.zeros(3)
    for step, gradient in enumerate(gradients, start=1):
        past, squares = 1 - step**-0.8, gradient**2 + 1e-30
        rows = past * rows + (1 - past) * squares.sum(axis=1)
        columns = past * columns + (1 - past) * squares.sum(axis=0)
        update = gradient / np.sqrt(np.outer(rows, columns) / rows.sum())
        update /= max(1.0, np.sqrt(np.mean(update**2)))
        w = w - rate * decay * w - rate * update
    np.testing.assert_allclose(after, w, rtol=1e-5)


@pytest.mark.parametrize("name", ["kernel", "bias"])
@pytest.mark.parametrize("norm_bounds", [None, (0.0, 1.5)])
def test_lamb_in_three_steps(name, norm_bounds):
    """You et al. 2020, algorithm 2: what is decayed counts in the norm that the step is divided by."""
    rng = np.random.default_rng(4)
    gradients, rate, decay, epsilon = rng.normal(size=(3, 2, 3)), 0.1, 0.5, 1e-3
    variable = keras.Variable(np.full((2, 3), 2.0, "float32"), name=name)
    optimizer = lamb(rate, decay, clip_norm=None, epsilon=epsilon, norm_bounds=norm_bounds)
    optimizer.build([variable])
    w, m, v = np.full((2, 3), 2.0), 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        r = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + epsilon)
        u = r + (decay if name == "kernel" else 0.0) * w
        size = np.linalg.norm(w)
        phi = size if norm_bounds is None else min(max(size, norm_bounds[0]), norm_bounds[1])
        w = w - rate * phi / np.linalg.norm(u) * u
    np.testing.assert_allclose(np.asarray(variable), w, rtol=1e-4)


def test_lamb_moves_weights_of_no_size():
    after, _ = applied(Lamb(0.1, epsilon=0.0), np.zeros(3), [[1.0, -2.0, 4.0]])
    np.testing.assert_allclose(after, [-0.1, 0.1, -0.1], rtol=1e-5)
    with pytest.raises(ValueError, match=r"Received: norm_bounds=\(2.0, 1.0\)"):
        Lamb(0.1, norm_bounds=(2.0, 1.0))


def test_a_first_moment_in_bfloat16_by_hand():
    """AdamW, but what is kept of the first moment is rounded to 8 bits, as is what is added to it."""
    rng = np.random.default_rng(5)
    gradients, rate, epsilon = rng.normal(size=(3, 2, 3)).astype("float32"), 0.1, 1e-3
    choices = {"weight_decay": 0.2, "clip_norm": None, "epsilon": epsilon}
    optimizer = adamw(rate, momentum_dtype="bfloat16", **choices)
    after, optimizer = applied(optimizer, np.ones((2, 3)), gradients)

    def rounded(x):
        return np.asarray(x, "float32").astype(ml_dtypes.bfloat16).astype("float32")

    w, m, v = np.ones((2, 3)), np.zeros((2, 3), "float32"), 0.0
    for step, gradient in enumerate(gradients, start=1):
        m = rounded(m + rounded((gradient - m) * np.float32(0.1)))
        v = 0.95 * v + 0.05 * gradient.astype("float64") ** 2
        correction = np.sqrt(1 - 0.95**step) / (1 - 0.9**step)
        w = w - rate * 0.2 * w - rate * correction * m / (np.sqrt(v) + epsilon)
    (kept,) = (np.asarray(x) for x in optimizer.variables if x.name.endswith("momentum"))
    # a backend that fuses multiply and add may round one of them the other way
    np.testing.assert_allclose(kept.astype("float32"), m, rtol=2**-7)
    np.testing.assert_allclose(after, w, rtol=1e-3)


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


@pytest.mark.parametrize(
    "optimizer",
    [Adafactor(0.1), adamw(0.1, momentum_dtype="bfloat16"), lamb(0.1, norm_bounds=(0.0, 10.0))],
)
def test_an_optimizer_comes_back_from_its_config(optimizer):
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
