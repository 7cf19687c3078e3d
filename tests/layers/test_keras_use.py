"""The layers in somebody's own Keras model: lengths that are not known, Keras' masks, export, fit."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign.layers import (
    CrossAttentionBlock,
    FeedForward,
    MultiHeadAttention,
    Rotary,
    TransformerBlock,
    banded_mask,
    causal_mask,
    key_mask,
    normalization,
    segment_mask,
    with_keys,
)
from tfalign.models import (
    BERT,
    GPT,
    BERTConfig,
    CausalLM,
    GPTConfig,
    MaskedLM,
    SequenceClassifier,
    Transformer,
    TransformerConfig,
    ValueHead,
)

V, W = 11, 8
SHORT = np.array([[3, 1, 4, 1], [5, 9, 2, 6]], "int32")
PADDED = np.pad(SHORT, ((0, 0), (0, 3)))
BERT_CONFIG, GPT_CONFIG = BERTConfig(V, W, 1, 2), GPTConfig(V, W, 1, 2, tied=False)


@pytest.fixture(autouse=True)
def no_warning_from_keras():
    """Keras warns where a mask is lost and where a weight has no gradient."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*mask.*")
        warnings.filterwarnings("error", message=".*Gradients do not exist.*")
        yield


@pytest.mark.parametrize(
    "make",
    [
        causal_mask,
        lambda x: banded_mask(x, 2),
        segment_mask,
        lambda x: key_mask(x > 0),
        lambda x: key_mask(x > 0) & causal_mask(x) & segment_mask(x) & banded_mask(x, 3),
    ],
)
@pytest.mark.parametrize("shape", [(None,), (4,)])
def test_masks_in_a_functional_model(make, shape):
    symbol = keras.Input(shape, dtype="int32")
    model = keras.Model(symbol, make(symbol))
    ids = np.array([[1, 1, 2, 0], [2, 2, 2, 2]], "int32")
    np.testing.assert_array_equal(model(ids), make(ids))


def test_a_causal_mask_of_a_length_of_states_and_of_ids():
    expected = np.tril(np.ones((4, 4), "bool"))[None, None]
    for of in (4, np.int32(4), ops.convert_to_tensor(4), SHORT, np.zeros((3, 4, 5), "float32")):
        np.testing.assert_array_equal(causal_mask(of), expected)


@pytest.mark.parametrize("make", [causal_mask, lambda length: banded_mask(length, 2)])
def test_a_length_that_is_not_known_is_refused(make):
    symbol = keras.Input((None,), dtype="int32")
    with pytest.raises(ValueError, match="give the tensor itself"):
        make(ops.shape(symbol)[1])


def _block(**attention):
    return TransformerBlock(
        MultiHeadAttention(2, **attention),
        normalization("layer", 1e-5),
        FeedForward(12),
        normalization("layer", 1e-5),
    )


def _cross_block():
    layers = MultiHeadAttention(2), normalization("layer", 1e-5)
    crossed = MultiHeadAttention(2), normalization("layer", 1e-5)
    return CrossAttentionBlock(*layers, *crossed, FeedForward(12), normalization("layer", 1e-5))


STACKS = {
    "attention": lambda x, _: MultiHeadAttention(2)(x),
    "rotary attention": lambda x, _: MultiHeadAttention(2, rotary=Rotary(100.0))(x),
    "attention under a mask": lambda x, ids: MultiHeadAttention(2)(
        x, attention_mask=causal_mask(ids)
    ),
    "attention to a context": lambda x, _: MultiHeadAttention(2)(x[:, :2], context=x),
    "block": lambda x, _: _block()(x),
    "blocks and a head": lambda x, ids: ValueHead()(
        _block()(FeedForward(5)(_block()(x, attention_mask=causal_mask(ids))))
    ),
    "cross-attention block": lambda x, _: _cross_block()(x, x),
    "Keras' own between": lambda x, _: _block()(
        keras.layers.MultiHeadAttention(2, 4)(_block()(keras.layers.Dropout(0.1)(x)), x)
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_padding_that_keras_masks_changes_nothing(name, tmp_path):
    """As with Keras' own layers: a text says the same with padding behind it as without."""
    ids = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(V, W, mask_zero=True)(ids)
    if name == "attention to a context":  # a slice of a tensor has no mask; the context has
        queries = keras.layers.Embedding(V, W)(ids[:, :2])
        out = MultiHeadAttention(2)(queries, context=embedded)
        model, columns = keras.Model(ids, out), 2
    else:
        model, columns = keras.Model(ids, STACKS[name](embedded, ids)), 4
        assert getattr(model.outputs[0], "_keras_mask", None) is not None
    for weight in model.weights:  # some start at zero
        weight.assign(weight + 0.3 * np.random.default_rng(0).normal(size=weight.shape))
    alone = np.asarray(model(SHORT))
    np.testing.assert_allclose(np.asarray(model(PADDED))[:, :columns], alone, atol=1e-5)
    file = tmp_path / "model.keras"
    model.save(file)
    np.testing.assert_allclose(keras.models.load_model(file)(SHORT), alone, atol=1e-6)


def test_a_mask_outlives_rematerialisation():
    ids = keras.Input((None,), dtype="int32")
    block = _block()
    block.remat = True
    out = block(keras.layers.Embedding(V, W, mask_zero=True)(ids))
    model = keras.Model(ids, out)
    alone = np.asarray(model(SHORT, training=True))
    np.testing.assert_allclose(np.asarray(model(PADDED, training=True))[:, :4], alone, atol=1e-5)


def test_masks_are_joined():
    padding = np.array([[1, 1, 0]], "bool")
    causal = np.tril(np.ones((3, 3), "bool"))
    expected = (causal & padding)[None, None]
    np.testing.assert_array_equal(with_keys(causal_mask(3), None, padding), expected)
    np.testing.assert_array_equal(with_keys(causal[None], padding), expected)  # [B, Q, K]
    assert with_keys(None, None) is None


@pytest.mark.slow
@pytest.mark.tensorflow
def test_layers_are_exported_with_their_masks(tmp_path):
    import tensorflow as tf

    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(V, W, mask_zero=True)(ids)
    model = keras.Model(ids, _cross_block()(_block()(x, attention_mask=causal_mask(ids)), x))
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for text in (SHORT, PADDED):
        np.testing.assert_allclose(loaded.serve(tf.constant(text)), model(text), atol=1e-5)


MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], "bool")
MODELS = {
    "BERT": (lambda: BERT(BERT_CONFIG), ("token_ids", "padding_mask")),
    "GPT": (lambda: GPT(GPT_CONFIG), ("token_ids", "padding_mask")),
    "CausalLM": (lambda: CausalLM(GPT_CONFIG), ("token_ids", "padding_mask")),
    "SequenceClassifier": (lambda: SequenceClassifier(BERT_CONFIG), ("token_ids", "padding_mask")),
    "Transformer": (
        lambda: Transformer(TransformerConfig(V, W, 1, 2)),
        ("source_ids", "target_ids"),
    ),
}


def _export(model, folder):
    import tensorflow as tf

    model.export(folder, verbose=False)
    return tf.saved_model.load(str(folder))


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", with_slow(MODELS, ["GPT", "Transformer"]))
def test_a_model_is_exported_before_any_call(name, tmp_path):
    import tensorflow as tf

    make, inputs = MODELS[name]
    model = make()
    assert [spec.name for spec in model.inputs_of_export()] == list(inputs)
    given = {x: MASK if x.endswith("mask") else SHORT for x in inputs}
    loaded = _export(model, tmp_path / "model")
    served = loaded.serve(*map(tf.constant, given.values()))
    np.testing.assert_allclose(served, model(**given), atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("given", [(), ("padding_mask",), ("token_type_ids",)])
def test_a_model_is_exported_with_the_inputs_of_its_first_call(given, tmp_path):
    """And with those that stand before them: a program takes its inputs by position."""
    import tensorflow as tf

    others = {"padding_mask": MASK, "token_type_ids": SHORT % 2}
    model = BERT(BERT_CONFIG)
    model(SHORT, **{name: others[name] for name in given}, training=False)
    model(SHORT, **others)  # a later call decides nothing
    names = list(others)[: 1 + list(others).index(given[0])] if given else []
    inputs = {name: others[name] for name in names}
    loaded = _export(model, tmp_path / "model")
    served = loaded.serve(*map(tf.constant, (SHORT, *inputs.values())))
    np.testing.assert_allclose(served, model(SHORT, **inputs), atol=1e-5)


class Mine(keras.Model):
    """Somebody's classifier on a trunk."""

    def __init__(self, trunk):
        super().__init__()
        self.trunk, self.out = trunk, keras.layers.Dense(1)

    def call(self, ids, training=None):
        hidden = self.trunk(ids, training=training)
        return self.out(hidden[0][:, 0] if isinstance(hidden, tuple) else hidden[:, 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: BERT(BERT_CONFIG),
        lambda: GPT(GPT_CONFIG),
        lambda: MaskedLM(BERT_CONFIG),
        lambda: BERT(BERT_CONFIG.replace(num_token_types=0)),
    ],
)
def test_what_is_not_used_neither_warns_nor_moves(make):
    trunk = make()
    model = Mine(trunk)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    idle = [w for w in trunk.weights if "pooler" in w.path or "readout" in w.path]
    before = [np.asarray(w) for w in trunk.weights]
    model.fit(SHORT, np.ones((2, 1)), epochs=2, verbose=0)
    moved = [np.abs(np.asarray(w) - old).max() > 0 for w, old in zip(trunk.weights, before)]
    assert not any(m for w, m in zip(trunk.weights, moved) if any(w is x for x in idle))
    assert sum(moved) > 5


def test_what_is_used_learns_as_before():
    """The pooler of a classifier, and the read-out of a language model."""
    for model, name in (
        (SequenceClassifier(BERT_CONFIG), "pooler"),
        (CausalLM(GPT_CONFIG), "readout"),
    ):
        used = [w for w in model.weights if name in w.path][0]
        before = np.asarray(used)
        labels = np.zeros(2) if name == "pooler" else SHORT
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5), loss)
        model.fit(SHORT, labels, verbose=0)
        assert np.abs(np.asarray(used) - before).max() > 1e-5
