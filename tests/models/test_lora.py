"""Adapters: nothing at first, exact when merged, gone when off, and the base untouched."""

import keras
import numpy as np
import pytest

from tfalign import backend
from tfalign.decoding import Greedy, generate
from tfalign.models import BERTConfig, CausalLM, GPTConfig, SequenceClassifier
from tfalign.models.lora import (
    LoRA,
    WithoutAdapters,
    adapted_layers,
    add_adapters,
    merge_adapters,
    quantize,
    without_adapters,
)
from tfalign.objectives import LanguageModelling
from tfalign.training.learner import Learner
from tfalign.training.optimizers import adamw
from tfalign.types import LanguageModelBatch

V = 11
CONFIG = GPTConfig(V, 16, 2, 4, max_positions=16, initializer_range=0.3)
IDS = np.random.default_rng(0).integers(0, V, size=(2, 6)).astype("int32")
KINDS = {"LoRA": {}, "DoRA": {"dora": True}}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def adapted(kind, moved=True, **more):
    """A model with adapters off their starting points, and the logits of its base."""
    model = CausalLM(CONFIG)
    base = np.asarray(model(IDS))
    add_adapters(model, LoRA(rank=3, alpha=6.0, **KINDS[kind] | more))
    random = np.random.default_rng(1)
    for variable in model.trainable_variables if moved else ():
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    return model, base


@every_kind
def test_changes_nothing_at_first(kind):
    model, base = adapted(kind, moved=False)
    np.testing.assert_allclose(model(IDS), base, atol=1e-5)
    assert len(adapted_layers(model)) == 12


@every_kind
def test_formula_by_hand(kind):
    dense = keras.layers.Dense(3, activation="relu")
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    dense(x)
    add_adapters(dense, LoRA(rank=2, alpha=5.0, **KINDS[kind]))
    random = np.random.default_rng(1)
    for variable in dense.variables:
        variable.assign(random.normal(size=variable.shape))
    down, up = (np.asarray(w) for w in (dense.adapter.down, dense.adapter.up))
    whole = np.asarray(dense.kernel) + down @ up * 2.5
    if kind == "DoRA":
        whole *= np.asarray(dense.adapter.magnitude) / np.linalg.norm(whole, axis=0)
    expected = np.maximum(x @ whole + np.asarray(dense.bias), 0)
    np.testing.assert_allclose(dense(x), expected, atol=1e-5)


@every_kind
@pytest.mark.parametrize("int8", [False, True])
def test_merged_equals_separate_and_the_model_is_as_before(kind, int8):
    model = CausalLM(CONFIG)
    paths = [weight.path for weight in model.weights]
    if int8:
        quantize(model)
    add_adapters(model, LoRA(rank=3, alpha=6.0, **KINDS[kind]))
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    separate = np.asarray(model(IDS))
    merge_adapters(model)
    np.testing.assert_allclose(model(IDS), separate, atol=1e-5)
    assert sorted(weight.path for weight in model.weights) == sorted(paths)
    assert len(model.trainable_weights) == len(paths)


@every_kind
def test_off_it_is_the_base_in_one_program_with_what_is_on(kind):
    model, base = adapted(kind)
    separate = np.asarray(model(IDS))
    assert np.abs(separate - base).max() > 0.1
    reference = WithoutAdapters(model)
    both = backend.jit(lambda ids: (model(ids), reference(ids)), model.variables)
    for found, expected in zip(both(IDS), (separate, base)):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    with without_adapters():
        np.testing.assert_array_equal(model(IDS), base)
    hidden = reference.backbone(IDS)
    np.testing.assert_allclose(reference.logits(hidden), base, atol=1e-5)
    np.testing.assert_array_equal(model(IDS), separate)


@every_kind
def test_training_moves_adapters_alone(kind):
    keras.utils.set_random_seed(0)
    model, _ = adapted(kind, moved=False, targets=("attention/(query|value)$",), dropout=0.1)
    frozen = {v.path: np.asarray(v) for v in model.variables if not v.trainable}
    assert len(model.trainable_variables) == (4 if kind == "LoRA" else 6) * 2
    mask = np.ones(IDS.shape, "bool")
    batch = LanguageModelBatch(IDS, mask, mask, mask.astype("int32"))
    learner = Learner(model, LanguageModelling(), adamw(1e-2, 0.0))
    assert len(learner.optimizer.variables) < 4 * len(model.trainable_variables)
    losses = [float(learner.update(batch)["loss"]) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    for variable in model.variables:
        if variable.path in frozen and "seed" not in variable.path:
            np.testing.assert_array_equal(variable, frozen[variable.path], err_msg=variable.path)


@pytest.mark.slow
def test_the_decode_loop_uses_them_and_forgets_them():
    model, _ = adapted("LoRA")

    def greedy():
        return np.asarray(generate(model, IDS, max_new_tokens=6, sampler=Greedy()).tokens)

    with_adapters = greedy()
    logits = [model(np.concatenate([IDS, with_adapters[:, :n]], 1))[:, -1] for n in range(6)]
    np.testing.assert_array_equal(with_adapters, np.argmax(logits, axis=-1).T)
    merge_adapters(model)
    np.testing.assert_array_equal(greedy(), with_adapters)


def test_quantized_kernels_are_near_and_a_quarter_of_the_size():
    model = CausalLM(CONFIG)
    base = np.asarray(model(IDS))
    kernels = {d.path: np.asarray(d.kernel) for d in _dense(model)}
    quantized = quantize(model)
    for dense in quantized:
        values = np.asarray(dense.int8_kernel.values)
        assert values.dtype == np.int8 and np.abs(values).max(axis=0).min() == 127
        steps = np.abs(kernels[dense.path]).max(axis=0) / 127
        error = np.abs(np.asarray(dense.kernel) - kernels[dense.path])
        assert (error <= steps / 2 + 1e-7).all()
    assert np.abs(np.asarray(model(IDS)) - base).max() < 0.1 * base.std()
    assert not [w for w in model.weights if w.path.endswith("/kernel")]
    add_adapters(model, LoRA(rank=2))
    held = sum(np.asarray(w).nbytes for w in model.weights if "int8" in w.path)
    assert held < 0.3 * sum(kernel.nbytes for kernel in kernels.values())


def _dense(model):
    return [x for x in model._flatten_layers() if isinstance(x, keras.layers.Dense)]


def test_any_dense_of_any_model():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(8, "relu")(inputs)))
    x = np.ones((3, 4), "float32")
    before = np.asarray(model(x))
    assert len(add_adapters(model, LoRA(2))) == 2
    np.testing.assert_allclose(model(x), before, atol=1e-6)
    encoder = SequenceClassifier(BERTConfig(V, 12, 1, 2), 3)
    add_adapters(encoder.backbone, LoRA(2))
    names = {variable.path.split("/")[-1] for variable in encoder.trainable_variables}
    assert names == {"down", "up", "kernel", "bias"}  # the head stays trainable


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: LoRA(rank=0), "Received: rank=0"),
        (
            lambda: add_adapters(CausalLM(CONFIG), LoRA(2, targets=("nowhere",))),
            "No Dense fits now",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
