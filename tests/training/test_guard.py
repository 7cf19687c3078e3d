"""One update of twenty overflows: the other nineteen train as if it had not been there, to the bit."""

import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import marks, with_slow
from tfalign.training.checkpoint import Checkpointer
from tfalign.training.guard import NotFiniteError
from tfalign.training.learner import Learner
from tfalign.training.loop import run_steps
from tfalign.training.optimizers import Adafactor, WarmupDecay, adafactor, adamw, lamb
from tfalign.training.run_directory import MetricsLog
from tfalign.training.run_state import RunState

_spec = importlib.util.spec_from_file_location(
    "every_objective", pathlib.Path(__file__).with_name("every_objective.py")
)
every = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(every)

UPDATES, POISONED = 20, 7
FAST = {"ppo"}


def averaged(rate):
    """Moments, a schedule, clipping, decay and averaged weights: all that an optimizer can keep."""
    return adamw(rate, weight_decay=0.1, clip_norm=0.3, use_ema=True, ema_momentum=0.9)


OPTIMIZERS = {
    "adamw": averaged,
    "adamw_bfloat16": lambda rate: adamw(rate, momentum_dtype="bfloat16"),
    "unclipped": lambda rate: keras.optimizers.Adam(rate),
    "adafactor": adafactor,
    "adafactor_unclipped": lambda rate: Adafactor(rate),
    "lamb": lamb,
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
}


def new_learner(name, accumulate=1, dtype=None, optimizer="adamw", **choices):
    case = every.CASES[name]
    schedule = WarmupDecay(1e-2, 30, 3)
    return Learner(
        every.new_model(case, dtype),
        every.Scaled(case.objective),
        OPTIMIZERS[optimizer](schedule),
        accumulate,
        **choices,
    )


def variables_of(learner):
    counts = "skipped_updates"
    kept = [v for v in learner.optimizer.variables if v.name != counts]
    return [*learner.model.variables, *kept]


def values_of(learner):
    return [np.array(ops.convert_to_numpy(ops.copy(v.value))) for v in variables_of(learner)]


def train(learner, start, name, poisoned=None, row=0):
    """The variables after the updates, all but the poisoned one of them if ``poisoned`` is None."""
    for variable, value in zip(variables_of(learner), start):
        variable.assign(value)
    for seed in range(UPDATES):
        batch = every.CASES[name].batch(np.random.default_rng(seed))
        if seed == POISONED and poisoned is None:
            continue
        learner.update((batch, every.factors(row if seed == poisoned else None)))
    return values_of(learner)


def assert_as_if_it_had_not_been_there(learner, name, row):
    start = values_of(learner)
    without = train(learner, start, name)
    with_it = train(learner, start, name, POISONED, row)
    for variable, one, other in zip(variables_of(learner), without, with_it):
        assert one.tobytes() == other.tobytes(), variable.path
        assert np.isfinite(one.astype("float32")).all(), variable.path
    moved = [a.tobytes() != b.tobytes() for a, b in zip(start, without)]
    assert np.mean(moved) > 0.5
    assert learner.traces == 1
    assert int(learner._guard.counts.value[0]) == 1


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_a_batch_of_the_fast_ones_overflows(name):
    assert_as_if_it_had_not_been_there(new_learner(name), name, row=0)


def some_of(names, first, every=8):
    """Every eighth name, or n-th, from the first on; the rest with --exhaustive alone."""
    return [pytest.param(name, marks=marks(at - first, every)) for at, name in enumerate(names)]


@pytest.mark.parametrize("name", some_of(sorted(set(every.CASES) - FAST), 1, every=4))
def test_a_batch_that_overflows(name):
    assert_as_if_it_had_not_been_there(new_learner(name), name, row=0)


@pytest.mark.parametrize("name", some_of(every.CASES, 0))
def test_a_micro_batch_that_overflows(name):
    assert_as_if_it_had_not_been_there(new_learner(name, accumulate=4), name, row=5)


@pytest.mark.parametrize("name", some_of(every.CASES, 2))
def test_a_batch_that_overflows_in_bfloat16(name):
    learner = new_learner(name, dtype="mixed_bfloat16")
    assert_as_if_it_had_not_been_there(learner, name, row=0)


@pytest.mark.parametrize("optimizer", with_slow(OPTIMIZERS, ()))
def test_every_optimizer_with_a_poisoned_micro_batch_in_bfloat16(optimizer):
    learner = new_learner("language_modelling", 4, "mixed_bfloat16", optimizer)
    assert_as_if_it_had_not_been_there(learner, "language_modelling", row=7)


POISONS = {
    "an advantage": ("grpo", {"advantages": 3e38}),
    "a return": ("ppo", {"returns": -1e30}),
    "a reward": ("vtrace", {"rewards": 1e30}),
    "not a number": ("reinforce", {"advantages": np.nan}),
    "a reference's log-prob": ("ipo", {"ref_log_probs": -1e25}),
    "a margin": ("reward", {"margin": np.inf}),
    "a similarity": ("similarity", {"similarity": 1e25}),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", with_slow(POISONS, {"an advantage"}))
def test_a_number_of_the_batch_that_is_too_large(what):
    name, poison = POISONS[what]
    learner = new_learner(name)
    batch = every.CASES[name].batch(np.random.default_rng(0))
    (field, value), plain = next(iter(poison.items())), every.factors()
    spoiled = getattr(batch, field).copy()
    spoiled[np.nonzero(np.ones_like(spoiled))] = value
    before = values_of(learner)
    scalars = learner.update((batch._replace(**{field: spoiled}), plain))
    assert float(scalars["skipped_updates"]) == 1
    for one, other in zip(before, values_of(learner)):
        assert one.tobytes() == other.tobytes()
    assert float(learner.update((batch, plain))["skipped_updates"]) == 1
    assert any(a.tobytes() != b.tobytes() for a, b in zip(before, values_of(learner)))


class Slope:
    """A loss whose gradient is what the batch says."""

    def __call__(self, model, batch, training=True):
        loss = ops.sum(model.trainable_variables[0].value * batch[0])
        return loss, ops.ones(()), {}


def one_weight(optimizer, **choices):
    layers = [keras.Input((4,)), keras.layers.Dense(1, use_bias=False, name="dense")]
    model = keras.Sequential(layers, name="model")
    model.trainable_variables[0].assign(np.zeros((4, 1), "float32"))
    return Learner(model, Slope(), optimizer, **choices)


def slope(*numbers):
    return (np.reshape(numbers, (1, 4, 1)).astype("float32"),)


@pytest.mark.parametrize("size", [1e-3, 1e10, 1e18, 1e25, 1e37])
def test_a_huge_gradient_is_clipped_as_any_other(size):
    learner = one_weight(keras.optimizers.SGD(1.0, global_clipnorm=1e-4))
    scalars = learner.update(slope(3 * size, 0, -4 * size, 0))
    weights = ops.convert_to_numpy(learner.model.trainable_variables[0].value).ravel()
    np.testing.assert_allclose(weights, [-6e-5, 0, 8e-5, 0], rtol=1e-5)
    np.testing.assert_allclose(float(scalars["gradient_norm"]), 5 * size, rtol=1e-5)
    assert float(scalars["skipped_updates"]) == 0


def test_without_clipping_a_gradient_whose_square_overflows_is_skipped():
    learner = one_weight(keras.optimizers.Adam(0.1))
    assert float(learner.update(slope(1e18, 0, 0, 0))["skipped_updates"]) == 0
    assert float(learner.update(slope(1e20, 0, 0, 0))["skipped_updates"]) == 1
    assert all(np.isfinite(ops.convert_to_numpy(v)).all() for v in learner.optimizer.variables)


NAN = slope(np.nan, 0, 0, 0)
FINE = slope(1, 2, 3, 4)


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_too_many_in_a_row_end_the_training(limit):
    learner = one_weight(keras.optimizers.SGD(0.1), max_skipped=limit)
    for _ in range(3):  # interrupted by one that is fine, they do not add up
        for _ in range(limit - 1):
            learner.update(NAN)
        learner.update(FINE)
    for _ in range(limit - 1):
        learner.update(NAN)
    sentence = (
        "not finite or too large to be squared; the weights are those before. Received: loss=nan"
    )
    with pytest.raises(NotFiniteError, match=sentence):
        learner.update(NAN)
    weights = ops.convert_to_numpy(learner.model.trainable_variables[0].value).ravel()
    np.testing.assert_allclose(weights, [-0.3, -0.6, -0.9, -1.2], rtol=1e-5)


def test_at_most_once_is_refused():
    with pytest.raises(ValueError, match="Received: max_skipped=0"):
        one_weight(keras.optimizers.SGD(0.1), max_skipped=0)


def test_the_sentence_names_the_stage_and_the_step(tmp_path):
    learner = one_weight(keras.optimizers.SGD(0.1), max_skipped=3)
    state = RunState(Checkpointer(tmp_path / "checkpoints"), {}, {})
    with (
        MetricsLog(tmp_path, "sft") as metrics,
        pytest.raises(NotFiniteError, match="^sft, step 4: 3 updates in a row .* loss=nan"),
    ):
        run_steps(
            lambda step: learner.update(FINE if step == 1 else NAN),
            20,
            state,
            metrics,
            log_every=1,
            name="sft",
        )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["loss"], line["skipped_updates"]) for line in lines] == [
        (0.0, 0.0),
        (None, 1.0),
        (None, 2.0),
    ]


def test_the_counts_survive_a_restart(tmp_path):
    def parts():
        learner = one_weight(keras.optimizers.Adam(0.1), max_skipped=3)
        variables = {"model": learner.model.variables, "optimizer": learner.optimizer.variables}
        return learner, RunState(Checkpointer(tmp_path), variables, {})

    learner, state = parts()
    for batch in (NAN, FINE, NAN, NAN):
        learner.update(batch)
    state.save(4)
    resumed, state = parts()
    assert state.restore() == 4
    assert [int(x) for x in ops.convert_to_numpy(resumed._guard.counts.value)] == [3, 2]
    with pytest.raises(NotFiniteError, match="3 updates in a row"):
        for _ in range(3):
            resumed.update(NAN)


def test_two_learners_of_one_optimizer_count_together():
    optimizer = keras.optimizers.Adam(0.1)
    learner = one_weight(optimizer)
    again = Learner(learner.model, Slope(), optimizer)
    learner.update(NAN)
    assert float(again.update(NAN)["skipped_updates"]) == 2
    assert sum(v.name == "skipped_updates" for v in optimizer.variables) == 1
