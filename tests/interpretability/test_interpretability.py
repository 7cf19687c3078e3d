"""Attention maps by hand, the lens' last layer, and integrated gradients' completeness."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign.interpretability import attention_maps, integrated_gradients, logit_lens
from tfalign.models import (
    BERT,
    GPT,
    BERTConfig,
    CausalLM,
    GPTConfig,
    MaskedLM,
    SequenceClassifier,
)

V, B, T = 13, 3, 6
GPT2 = GPTConfig(V, 16, 2, 2, max_positions=8, initializer_range=0.4)
LLAMA = GPT2.replace(
    num_key_value_heads=1, rotary_base=100.0, norm="rms", gated=True, attention_window=3
)
BERT_CONFIG = BERTConfig(V, 16, 2, 2, max_positions=8, initializer_range=0.4)
_random = np.random.default_rng(0)
IDS = _random.integers(0, V, size=(B, T)).astype("int32")
MASK = np.arange(T) < np.array([6, 3, 5])[:, None]
TRUNKS = {"gpt2": lambda: GPT(GPT2), "llama": lambda: GPT(LLAMA), "bert": lambda: BERT(BERT_CONFIG)}


@pytest.mark.parametrize("name", list(TRUNKS))
def test_attention_rows_sum_to_one_and_look_only_where_they_may(name):
    maps = np.asarray(attention_maps(TRUNKS[name](), IDS, MASK))
    assert maps.shape == (2, B, 2, T, T) and maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-6)
    allowed = np.broadcast_to(MASK[:, None, None, :], maps.shape).copy()
    if name != "bert":
        allowed &= np.tril(np.ones((T, T), "bool"))
    if name == "llama":  # every other block sees three columns
        allowed[1] &= np.triu(np.ones((T, T), "bool"), -2)
    of_real = np.broadcast_to(MASK[:, None, :, None], maps.shape)
    assert (maps[of_real & ~allowed] == 0).all()
    assert (maps[of_real & allowed] > 0).all()


def test_the_first_blocks_attention_by_hand():
    """softmax(Q K^T / sqrt(D)) of the embedded text, a head at a time."""
    trunk = BERT(BERT_CONFIG)
    state = np.asarray(trunk.trace(IDS).states[0])
    attention = trunk.blocks[0].attention
    q, k = (
        (state @ np.asarray(d.kernel) + np.asarray(d.bias))
        .reshape(B, T, 2, 8)
        .transpose(0, 2, 1, 3)
        for d in (attention.query, attention.key)
    )
    scores = np.exp(q @ k.transpose(0, 1, 3, 2) / 8**0.5)
    expected = scores / scores.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(attention_maps(trunk, IDS)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: CausalLM(LLAMA), lambda: MaskedLM(BERT_CONFIG)], ids=["gpt", "bert"]
)
def test_the_lens_ends_with_the_models_logits(make):
    model = make()
    lens = np.asarray(logit_lens(model, IDS, MASK))
    assert lens.shape == (3, B, T, V)
    logits = np.asarray(model(IDS, padding_mask=MASK))
    np.testing.assert_allclose(lens[-1][MASK], logits[MASK], atol=1e-5)
    assert np.abs(lens[0][MASK] - logits[MASK]).max() > 0.1


def scored(name):
    """(trunk, score, the score of ids and a mask by an ordinary call)."""
    keras.utils.set_random_seed(0)
    if name == "classifier":
        model = SequenceClassifier(BERT_CONFIG, 3)
        head = lambda hidden, mask: model.head(model.backbone.pool(hidden, mask))[:, 1]  # noqa: E731
        return model.backbone, head, lambda ids, mask: model(ids, padding_mask=mask)[:, 1]
    model = CausalLM(GPT2)
    last = lambda hidden, mask: model.logits(model.backbone.pool(hidden, mask))[:, 4]  # noqa: E731
    return (
        model.backbone,
        last,
        lambda ids, mask: last(model.backbone(ids, padding_mask=mask), mask),
    )


@pytest.mark.parametrize("name", ["classifier", "language model"])
def test_attributions_are_complete(name):
    trunk, score, by_call = scored(name)
    baseline = np.zeros_like(IDS)
    found = integrated_gradients(trunk, score, IDS, baseline, MASK, steps=64)
    np.testing.assert_allclose(found.score, by_call(IDS, MASK), atol=1e-4)
    np.testing.assert_allclose(found.baseline_score, by_call(baseline, MASK), atol=1e-4)
    difference = np.asarray(found.score) - np.asarray(found.baseline_score)
    assert np.abs(difference).max() > 0.1
    np.testing.assert_allclose(np.asarray(found.tokens).sum(axis=1), difference, atol=5e-3)
    assert (np.asarray(found.tokens)[~MASK] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("name", with_slow(["classifier", "language model"], ["classifier"]))
def test_default_steps_leave_less_than_a_hundredth_unexplained_or_say_so(name, scale):
    """With weights twice as large no number of steps up to the limit may be enough."""
    trunk, score, _ = scored(name)
    for weight in trunk.weights:
        weight.assign(scale * weight)
    found = integrated_gradients(trunk, score, IDS, np.zeros_like(IDS), MASK)
    difference = np.asarray(found.score) - np.asarray(found.baseline_score)
    lack = np.abs(np.asarray(found.tokens).sum(axis=1) - difference)
    np.testing.assert_allclose(found.unexplained * np.abs(difference), lack, atol=1e-4)
    if scale == 1.0:
        assert (np.asarray(found.unexplained) <= 0.01).all()


@pytest.mark.slow
def test_what_no_number_of_steps_explains_is_said(monkeypatch):
    """A score with a step in it has no gradient there: all of the difference stays unexplained."""
    trunk = GPT(GPT2)
    asked = []

    def score(hidden, mask):
        asked.append(hidden.shape[0])
        return ops.cast(ops.sum(hidden, axis=(1, 2)) > 0.0, "float32") + 0.0 * hidden[:, 0, 0]

    found = integrated_gradients(trunk, score, IDS, np.roll(IDS, 1, axis=1), MASK, steps=256)
    differs = np.asarray(found.score) != np.asarray(found.baseline_score)
    np.testing.assert_allclose(found.unexplained, differs.astype("float32"), atol=1e-6)
    assert max(asked) <= 256  # however many steps, a few rows at a time


def test_nothing_is_unexplained_of_nothing():
    trunk, score, _ = scored("classifier")
    found = integrated_gradients(trunk, score, IDS, IDS, MASK, steps=2)
    np.testing.assert_array_equal(found.unexplained, np.zeros(B))
    np.testing.assert_array_equal(found.tokens, np.zeros((B, T)))


@pytest.mark.parametrize("wrong", [-1, V, 10**6])
def test_ids_outside_the_vocabulary(wrong):
    model = CausalLM(GPT2)
    ids = IDS.copy()
    ids[1, 2] = wrong
    for look in (
        lambda: attention_maps(model.backbone, ids),
        lambda: logit_lens(model, ids),
        lambda: integrated_gradients(model.backbone, None, ids, IDS),
        lambda: integrated_gradients(model.backbone, None, IDS, ids),
    ):
        with pytest.raises(ValueError, match="of row 1 has an id outside the vocabulary of 13"):
            look()


def test_a_linear_score_is_attributed_exactly():
    """Without blocks, w . x gives each token w . (x - x'), at a single point."""
    trunk = GPT(GPT2.replace(num_layers=1))
    trunk.from_embeddings = lambda x, mask: x
    w, baseline = _random.normal(size=16).astype("float32"), IDS[::-1].copy()

    def score(hidden, mask):
        return ops.sum(hidden * w, axis=(1, 2))

    found = integrated_gradients(trunk, score, IDS, baseline, steps=1)
    table = np.asarray(trunk.token_embedding.embeddings)
    np.testing.assert_allclose(found.tokens, (table[IDS] - table[baseline]) @ w, atol=1e-4)


def test_impossible_steps():
    trunk = GPT(GPT2)
    with pytest.raises(ValueError, match="steps=0"):
        integrated_gradients(trunk, None, IDS, IDS, steps=0)
