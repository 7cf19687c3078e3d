"""What every layer promises: one table of layers, one set of checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.layers import (
    CrossAttentionBlock,
    FeedForward,
    GatedFeedForward,
    IdPrefix,
    LearnedPositions,
    MixtureOfExperts,
    MultiHeadAttention,
    PatchPrefix,
    Rotary,
    SinusoidalPositions,
    TokenEmbedding,
    TransformerBlock,
    VectorPrefix,
    normalization,
)
from tfalign.models.heads import (
    CausalLMHead,
    MaskedLMHead,
    NextSentenceHead,
    PooledClassifierHead,
    ScalarRewardHead,
    TokenClassifierHead,
    ValueHead,
)

B, T, S, W, V = 2, 5, 4, 8, 11
_random = np.random.default_rng(0)
HIDDEN = _random.normal(size=(B, T, W)).astype("float32")
CONTEXT = _random.normal(size=(B, S, W)).astype("float32")
KERNEL = _random.normal(size=(W, V)).astype("float32")
IDS = _random.integers(0, V, size=(B, T)).astype("int32")
POSITIONS = np.broadcast_to(np.arange(T, dtype="int32"), (B, T))
CAUSAL = np.broadcast_to(np.tril(np.ones((T, T), "bool")), (B, 1, T, T))


class Case(NamedTuple):
    """A layer and a call of it."""

    name: str
    make: Callable[..., keras.layers.Layer]  # of the dtype policy
    inputs: dict[str, np.ndarray]
    output: tuple[str, tuple[int, ...]]  # dtype ("compute" for the layer's own) and shape
    num_weights: int
    idle: tuple[str, ...] = ()  # weights whose gradient is zero by nature


def _block(dtype, pre_norm, rotary=None):
    return TransformerBlock(
        MultiHeadAttention(2, rotary=rotary, dtype=dtype, name="attention"),
        normalization("layer" if not pre_norm else "rms", 1e-5, dtype=dtype),
        FeedForward(12, dtype=dtype, name="feed_forward"),
        normalization("layer" if not pre_norm else "rms", 1e-5, dtype=dtype),
        pre_norm=pre_norm,
        dtype=dtype,
    )


def _cross_block(dtype):
    return CrossAttentionBlock(
        MultiHeadAttention(2, dtype=dtype, name="attention"),
        normalization("layer", 1e-5, dtype=dtype),
        MultiHeadAttention(2, dtype=dtype, name="cross_attention"),
        normalization("layer", 1e-5, dtype=dtype),
        FeedForward(12, activation="relu", dtype=dtype, name="feed_forward"),
        normalization("layer", 1e-5, dtype=dtype),
        pre_norm=False,
        dtype=dtype,
    )


# A bias on all keys moves all scores of a query alike, and the softmax does not notice.
KEY_BIAS = ("key/bias",)
SAME = ("compute", (B, T, W))
CASES = [
    Case(
        "attention", lambda dtype: MultiHeadAttention(2, dtype=dtype), {"x": HIDDEN}, SAME, 8
    )._replace(idle=KEY_BIAS),
    Case(
        "grouped rotary attention",
        lambda dtype: MultiHeadAttention(
            4,
            2,
            head_dim=6,
            rotary=Rotary(100.0),
            use_bias=False,
            use_output_bias=True,
            dtype=dtype,
        ),
        {"x": HIDDEN, "attention_mask": CAUSAL, "positions": POSITIONS},
        SAME,
        5,
    ),
    Case(
        "scaled rotary attention with normalised heads",
        lambda dtype: MultiHeadAttention(
            2,
            rotary=Rotary(100.0, {"rope_type": "linear", "factor": 2.0}),
            head_norm_epsilon=1e-6,
            head_norm="zero_centered_rms",
            score_width=3.0,
            score_cap=2.0,
            use_bias=False,
            dtype=dtype,
        ),
        {"x": HIDDEN, "positions": POSITIONS},
        SAME,
        6,
    ),
    Case(
        "cross attention",
        lambda dtype: MultiHeadAttention(2, use_bias=False, dtype=dtype),
        {"x": HIDDEN, "context": CONTEXT},
        SAME,
        4,
    ),
    Case("feed-forward", lambda dtype: FeedForward(12, dtype=dtype), {"x": HIDDEN}, SAME, 4),
    Case("SwiGLU", lambda dtype: GatedFeedForward(12, dtype=dtype), {"x": HIDDEN}, SAME, 3),
    Case(
        "mixture of experts",
        lambda dtype: MixtureOfExperts(3, 2, 12, dtype=dtype),
        {"x": HIDDEN},
        SAME,
        4,
    ),
    Case(
        "post-norm block",
        lambda dtype: _block(dtype, pre_norm=False),
        {"x": HIDDEN, "attention_mask": CAUSAL},
        SAME,
        16,
        KEY_BIAS,
    ),
    Case(
        "pre-norm block",
        lambda dtype: _block(dtype, pre_norm=True, rotary=Rotary(100.0)),
        {"x": HIDDEN, "attention_mask": CAUSAL, "positions": POSITIONS},
        SAME,
        14,
    ),
    Case(
        "block with norms on both sides",
        lambda dtype: TransformerBlock(
            MultiHeadAttention(2, dtype=dtype, name="attention"),
            feed_forward=FeedForward(12, dtype=dtype, name="feed_forward"),
            **{
                name: normalization("zero_centered_rms", 1e-5, dtype=dtype, name=name)
                for name in TransformerBlock.sublayers
                if name.endswith("norm")
            },
            dtype=dtype,
        ),
        {"x": HIDDEN, "attention_mask": CAUSAL},
        SAME,
        16,
        KEY_BIAS,
    ),
    Case(
        "cross-attention block",
        _cross_block,
        {"x": HIDDEN, "context": CONTEXT, "attention_mask": CAUSAL},
        SAME,
        26,
        KEY_BIAS,
    ),
    Case(
        "token embedding",
        lambda dtype: TokenEmbedding(V, W, scale=3.0, dtype=dtype),
        {"token_ids": IDS},
        SAME,
        1,
    ),
    Case(
        "learned positions",
        lambda dtype: LearnedPositions(T, W, dtype=dtype),
        {"positions": POSITIONS},
        SAME,
        1,
    ),
    Case(
        "sinusoidal positions",
        lambda dtype: SinusoidalPositions(W, dtype=dtype),
        {"positions": POSITIONS},
        SAME,
        0,
    ),
    Case(
        "prefix of a number",
        lambda dtype: IdPrefix(V, S, W, dtype=dtype),
        {"condition": IDS[:, 0]},
        ("compute", (B, S, W)),
        1,
    ),
    Case(
        "prefix of a vector",
        lambda dtype: VectorPrefix(W, S, W, dtype=dtype),
        {"condition": HIDDEN[:, 0]},
        ("compute", (B, S, W)),
        2,
    ),
    Case(
        "prefix of an image",
        lambda dtype: PatchPrefix((4, 2, 1), 2, W, dtype=dtype),
        {"condition": HIDDEN[:, 0].reshape(B, 4, 2, 1)},
        ("compute", (B, 2, W)),
        3,
    ),
    Case(
        "causal LM head",
        lambda dtype: CausalLMHead(3.0, dtype=dtype),
        {"hidden": HIDDEN, "kernel": KERNEL},
        ("float32", (B, T, V)),
        0,
    ),
    Case(
        "masked LM head",
        lambda dtype: MaskedLMHead(V, dtype=dtype),
        {"hidden": HIDDEN, "kernel": KERNEL},
        ("float32", (B, T, V)),
        5,
    ),
    Case(
        "pooled classifier head",
        lambda dtype: PooledClassifierHead(3, dropout=0.5, dtype=dtype),
        {"features": HIDDEN[:, 0]},
        ("float32", (B, 3)),
        2,
    ),
    Case(
        "next-sentence head",
        lambda dtype: NextSentenceHead(dtype=dtype),
        {"features": HIDDEN[:, 0]},
        ("float32", (B, 2)),
        2,
    ),
    Case(
        "token classifier head",
        lambda dtype: TokenClassifierHead(3, dtype=dtype),
        {"features": HIDDEN},
        ("float32", (B, T, 3)),
        2,
    ),
    Case(
        "value head",
        lambda dtype: ValueHead(dtype=dtype),
        {"hidden": HIDDEN},
        ("float32", (B, T)),
        2,
    ),
    Case(
        "scalar reward head",
        lambda dtype: ScalarRewardHead(dtype=dtype),
        {"features": HIDDEN[:, 0]},
        ("float32", (B,)),
        2,
    ),
]
every_layer = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def _call(layer, inputs, **more):
    """Calls with the first input by position and the others by name, as Keras users do."""
    (_, first), *others = inputs.items()
    return layer(first, **dict(others), **more)


def _array(x) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(x, "float32"))


@every_layer
def test_output_has_the_stated_shape_dtype_and_number_of_weights(case):
    layer = case.make(None)
    output = _call(layer, case.inputs)
    dtype, shape = case.output
    assert tuple(output.shape) == shape
    assert keras.backend.standardize_dtype(output.dtype) == dtype.replace("compute", "float32")
    assert len(layer.weights) == case.num_weights
    assert np.isfinite(_array(output)).all()


@every_layer
def test_config_round_trip(case):
    layer = case.make(None)
    _call(layer, case.inputs)
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    _call(again, case.inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(
        _array(_call(again, case.inputs)), _array(_call(layer, case.inputs))
    )


def _functional(layer, inputs: dict[str, np.ndarray], unknown_length=False) -> keras.Model:
    def symbol(name, array):
        shape = [None if unknown_length and size == T else size for size in array.shape[1:]]
        if name == "kernel":
            return keras.Input(batch_shape=array.shape, dtype="float32", name=name)
        return keras.Input(shape, dtype=str(array.dtype), name=name)

    symbols = {name: symbol(name, array) for name, array in inputs.items()}
    return keras.Model(symbols, _call(layer, symbols))


@every_layer
def test_symbolic_equals_eager_and_survives_a_keras_file(case, tmp_path):
    layer = case.make(None)
    model = _functional(layer, case.inputs)
    assert tuple(model.output_shape[1:]) == case.output[1][1:]
    eager = _array(_call(layer, case.inputs))
    np.testing.assert_allclose(_array(model(case.inputs)), eager, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(_array(loaded(case.inputs)), eager, atol=1e-6)


@every_layer
def test_length_may_be_unknown_when_the_graph_is_built(case):
    layer = case.make(None)
    model = _functional(layer, case.inputs, unknown_length=True)
    np.testing.assert_allclose(
        _array(model(case.inputs)), _array(_call(layer, case.inputs)), atol=1e-6
    )


@every_layer
def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights(case):
    full = case.make("float32")
    expected = _array(_call(full, case.inputs))
    layer = case.make("mixed_bfloat16")
    _call(layer, case.inputs)
    layer.set_weights(full.get_weights())
    output = _call(layer, case.inputs)
    assert layer.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in layer.weights} <= {"float32"}
    dtype = case.output[0].replace("compute", "bfloat16")
    assert keras.backend.standardize_dtype(output.dtype) == dtype
    largest = np.abs(expected).max()
    np.testing.assert_allclose(_array(output), expected, atol=0.03 * max(largest, 1.0))


@every_layer
def test_gradient_reaches_every_trained_weight(case):
    layer = case.make(None)
    shape = _call(layer, case.inputs).shape
    direction = np.random.default_rng(1).normal(size=shape).astype("float32")

    def loss() -> Any:
        return ops.sum(_call(layer, case.inputs) * direction), ()

    def gradients_of_loss():
        return backend.value_and_grad(loss, layer.trainable_weights)[2]

    gradients = backend.jit(gradients_of_loss, layer.variables)()
    for weight, gradient in zip(layer.trainable_weights, gradients):
        if not any(weight.path.endswith(idle) for idle in case.idle):
            assert np.abs(_array(gradient)).max() > 1e-7, weight.path
