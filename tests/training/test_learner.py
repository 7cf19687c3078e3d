"""The Learner: what accumulation, compilation, clipping, averaging and bfloat16 may change."""

import hashlib
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign.data import BatchStream, TextRecord, encode_texts
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay, adamw
from tfalign.types import LanguageModelBatch

V, B, T = 13, 4, 10
CONFIG = GPTConfig(V, 16, 1, 2, max_positions=16)


def new_model(seed=0, **more):
    model = CausalLM(CONFIG, **more)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape).astype("float32"))
    return model


def new_batch(seed, lengths):
    rng = np.random.default_rng(seed)
    real = np.arange(T) < np.asarray(lengths)[:, None]
    token_ids = np.where(real, rng.integers(1, V, real.shape), 0).astype("int32")
    return LanguageModelBatch(token_ids, real, real, real.astype("int32"))


RAGGED = new_batch(0, [10, 9, 2, 3])  # the first micro-batch of two weighs 17, the second 3


def weights(model):
    return [ops.convert_to_numpy(v.value).astype("float64") for v in model.trainable_variables]


def assert_close(some, others, rtol):
    """Relative to the largest entry of each tensor."""
    for a, b in zip(some, others, strict=True):
        assert np.abs(a - b).max() <= rtol * max(np.abs(b).max(), 1e-2)


def sgd_step(batch, compiled=True, **choices):
    """(loss, gradients by one step of plain SGD, the update's scalars)."""
    model = new_model()
    objective = choices.pop("objective", LanguageModelling())
    rate = 64.0  # large, so that the weights' rounding does not hide the gradients
    learner = Learner(model, objective, keras.optimizers.SGD(rate), **choices)
    before = weights(model)
    scalars = learner.update(batch) if compiled else learner._step(batch)[0]
    gradients = [(a - b) / rate for a, b in zip(before, weights(model))]
    return gradients, {name: float(value) for name, value in scalars.items()}


@pytest.fixture(scope="module")
def whole():
    return sgd_step(RAGGED)


def test_loss_is_the_mean_over_all_target_tokens(whole):
    model = new_model()
    total, count = 0.0, 0
    for row in range(B):
        length = int(RAGGED.padding_mask[row].sum())
        ids = RAGGED.token_ids[row : row + 1, :length]
        log_probs = np.log(keras.ops.convert_to_numpy(ops.softmax(model(ids))).astype("float64"))
        total -= sum(log_probs[0, t - 1, ids[0, t]] for t in range(1, length))
        count += length - 1
    _, scalars = whole
    np.testing.assert_allclose(scalars["loss"], total / count, rtol=1e-6)
    assert scalars["weight"] == count == 20
    assert scalars["tokens_per_row"] == 24 / 4


@pytest.mark.parametrize("accumulate", with_slow([2, 4], [4]))
def test_accumulation_is_the_big_batch(whole, accumulate):
    gradients, scalars = sgd_step(RAGGED, accumulate=accumulate)
    assert_close(gradients, whole[0], 1e-6)
    assert scalars.keys() == whole[1].keys()
    for name, value in scalars.items():
        np.testing.assert_allclose(value, whole[1][name], rtol=1e-6, err_msg=name)
    # what this guards against: the mean of the micro-batches' means is another number
    halves = [new_batch(0, [10, 9, 2, 3])._replace(loss_mask=m) for m in micro_masks()]
    losses = [sgd_step(half, compiled=False)[1]["loss"] for half in halves]
    assert abs(np.mean(losses) - whole[1]["loss"]) > 0.01


def micro_masks():
    rows = np.arange(B)[:, None]
    return RAGGED.loss_mask & (rows < 2), RAGGED.loss_mask & (rows >= 2)


def test_compiled_is_eager(whole):
    gradients, scalars = sgd_step(RAGGED, compiled=False)
    assert_close(gradients, whole[0], 1e-5)
    for name, value in scalars.items():
        np.testing.assert_allclose(value, whole[1][name], rtol=1e-5, err_msg=name)


def test_chunked_is_plain(whole):
    """36 positions: five chunks of 7 and one that is short."""
    gradients, scalars = sgd_step(RAGGED, objective=LanguageModelling(chunk=7))
    assert_close(gradients, whole[0], 2e-6)
    np.testing.assert_allclose(scalars["loss"], whole[1]["loss"], rtol=1e-6)


def test_gradient_norm(whole):
    gradients, scalars = whole
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    np.testing.assert_allclose(scalars["gradient_norm"], norm, rtol=1e-5)


def test_metrics_are_sums_over_weights():
    class Counting:
        def __call__(self, model, batch, training=True):
            loss = ops.sum(ops.square(model.trainable_variables[0].value))
            rows = ops.cast(batch.token_ids[:, 0], "float32")
            mask = ops.cast(batch.padding_mask[:, 0], "float32")
            return loss, ops.sum(mask), {"mean": (ops.sum(rows * mask), ops.sum(mask))}

    batch = RAGGED._replace(
        token_ids=np.array([[4], [6], [100], [5]], "int32"),
        padding_mask=np.array([[True], [True], [False], [True]]),
    )
    for accumulate in (1, 2):
        _, scalars = sgd_step(batch, objective=Counting(), accumulate=accumulate, compiled=False)
        np.testing.assert_allclose(scalars["mean"], 5.0, rtol=1e-6)
        assert scalars["weight"] == 3


def test_a_batch_that_cannot_be_cut_is_told():
    learner = Learner(new_model(), LanguageModelling(), keras.optimizers.SGD(0.1), accumulate=3)
    with pytest.raises(ValueError, match="4 rows cannot be cut into 3 equal micro-batches"):
        learner.update(RAGGED)
    with pytest.raises(ValueError, match="Received: accumulate=0"):
        Learner(new_model(), LanguageModelling(), keras.optimizers.SGD(0.1), accumulate=0)


@pytest.mark.slow
def test_one_program_a_bucket_whatever_the_lengths_and_the_rate():
    rng = np.random.default_rng(4)
    texts = [" ".join(map(str, rng.integers(3, V, n))) for n in [1, 2, 3, 4, 5, 6, 7, 8] * 3]
    records = [TextRecord(text, "test") for text in texts]
    stream = BatchStream(encode_texts(records, Spelled()), 4, bucket_lengths=[6, 10], seed=0)
    optimizer = keras.optimizers.SGD(1e-3)
    learner = Learner(new_model(), LanguageModelling(), optimizer)
    shapes, lengths = set(), set()
    for step in range(8):
        batch = next(stream)
        shapes.add(batch.token_ids.shape)
        lengths.update(batch.padding_mask.sum(axis=1).tolist())
        optimizer.learning_rate = 1e-3 / (step + 1)
        learner.update(batch)
        assert learner.traces == len(shapes)
    assert len(shapes) == 2 and len(lengths) >= 6


class Spelled:
    """A tokenizer of texts that spell their ids: "5 7 4"."""

    pad_id, eos_id, stop_ids, head_ids = 0, 2, (2,), (1,)

    def encode_batch(self, texts):
        return [[int(word) for word in text.split()] for text in texts]


@pytest.fixture(scope="module")
def clipped_and_averaged():
    """Five compiled updates with clipping, weight decay, a schedule and averaged weights."""
    model = new_model()
    schedule = WarmupDecay(0.05, 5, warmup_steps=2, shape="linear")
    choices = {"weight_decay": 0.1, "clip_norm": 0.3, "epsilon": 1e-3}
    optimizer = adamw(schedule, use_ema=True, ema_momentum=0.6, **choices)
    learner = Learner(model, LanguageModelling(), optimizer)
    history, norms = [weights(model)], []
    for seed in range(5):
        scalars = learner.update(new_batch(seed, [10, 8, 3, 5]))
        norms.append(float(scalars["gradient_norm"]))
        history.append(weights(model))
    return model, optimizer, learner, history, norms


@pytest.mark.slow
def test_a_schedule_compiles_once(clipped_and_averaged):
    *_, learner, _, _ = clipped_and_averaged
    assert learner.traces == 1


def test_averaged_weights(clipped_and_averaged):
    """finalize puts the moving average of the weights in their place; Keras begins it with the
    weights after the first update."""
    model, optimizer, _, history, _ = clipped_and_averaged
    average = history[1]
    for after in history[2:]:
        average = [0.6 * a + 0.4 * w for a, w in zip(average, after)]
    optimizer.finalize_variable_values(model.trainable_variables)
    assert_close(weights(model), average, 1e-6)
    assert any(np.abs(a - w).max() > 1e-3 for a, w in zip(average, history[-1]))


def test_clipping():
    """The reported norm is that before clipping; the step is that of the clipped gradient."""
    for compiled in (False, True):
        model = new_model()
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=0.1)
        learner = Learner(model, LanguageModelling(), optimizer)
        before = weights(model)
        scalars = learner.update(RAGGED) if compiled else learner._step(RAGGED)[0]
        step = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(before, weights(model))))
        assert float(scalars["gradient_norm"]) > 0.2
        np.testing.assert_allclose(step, 0.1, rtol=1e-4)


@pytest.mark.slow
def test_mixed_bfloat16_trains_float32_weights():
    model = new_model(dtype="mixed_bfloat16")
    learner = Learner(model, LanguageModelling(), adamw(0.02))
    batch = new_batch(1, [10, 10, 10, 10])
    losses = [float(learner.update(batch)["loss"]) for _ in range(30)]
    assert model.compute_dtype == "bfloat16"
    assert {v.dtype for v in model.variables} == {"float32"}
    moments = [v for v in learner.optimizer.variables if v.name.endswith(("momentum", "velocity"))]
    assert moments and {v.dtype for v in moments} == {"float32"}
    assert losses[-1] < 0.5 * losses[0]
    exact = sgd_step(batch)[1]["loss"]
    assert 1e-6 < abs(losses[0] - exact) < 0.02  # computed in bfloat16, and near


TWENTY_UPDATES = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_learner import *
print(twenty_updates())
"""


def twenty_updates():
    keras.utils.set_random_seed(0)
    model = CausalLM(CONFIG.replace(dropout=0.1))
    learner = Learner(model, LanguageModelling(), adamw(0.01), accumulate=2)
    for seed in range(20):
        learner.update(new_batch(seed, [10, 8, 3, 5]))
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.mark.slow  # two fresh processes of 20 s
def test_fresh_processes_agree_to_the_bit():
    folder = pathlib.Path(__file__).parent
    command = [sys.executable, "-c", TWENTY_UPDATES, str(folder)]
    path = os.pathsep.join([str(folder.parent.parent), os.environ.get("PYTHONPATH", "")])
    digests = [
        subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(run)},
            capture_output=True,
            text=True,
            check=True,
            timeout=1200,
        ).stdout.split()[-1]
        for run in range(2)
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 64


def mixture_step(loss, **choices):
    """As ``sgd_step``, of a mixture of experts that drops tokens."""
    changes = {"num_experts": 3, "expert_dim": 8, "expert_capacity": 0.8, "router_loss": loss}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "CONFIG", CONFIG.replace(**changes))
        return sgd_step(RAGGED, **choices)


@pytest.mark.slow  # 11 s
def test_the_load_balancing_loss_is_the_big_batchs_too():
    """Its divisor is the tokens, the objective's the targets; 19 and 17 of the first micro-batch, 5 and 3 of the
    other."""
    gradients, scalars = mixture_step(0.5)
    plain, without = mixture_step(0.0)
    assert scalars["loss"] == pytest.approx(
        without["loss"] + 0.5 * scalars["router_balance"], rel=1e-6
    )
    assert scalars["dropped_tokens"] > 0.05
    assert max(np.abs(a - b).max() for a, b in zip(gradients, plain)) > 1e-3
    in_parts, of_parts = mixture_step(0.5, accumulate=2)
    assert_close(in_parts, gradients, 2e-6)
    for name, value in of_parts.items():
        np.testing.assert_allclose(value, scalars[name], rtol=2e-6, err_msg=name)
