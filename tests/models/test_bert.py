"""BERT: sides of padding, token types, pooling, sizes."""

import numpy as np
import pytest

from tfalign.models import BERT, BERTConfig, MaskedLM, NextSentenceClassifier, TokenClassifier
from tfalign.models.bert import PRESETS

V, B, T = 13, 3, 7
CONFIG = BERTConfig(V, 16, 2, 4, max_positions=12, initializer_range=0.3)
LENGTHS = np.array([7, 3, 5])
_random = np.random.default_rng(0)
IDS = _random.integers(0, V, size=(B, T)).astype("int32")
TYPES = _random.integers(0, 2, size=(B, T)).astype("int32")
RIGHT = np.arange(T)[None, :] < LENGTHS[:, None]


def _left(rows):
    return np.stack([np.roll(row, T - n, axis=0) for row, n in zip(rows, LENGTHS)])


@pytest.fixture(scope="module")
def bert() -> BERT:
    model = BERT(CONFIG)
    random = np.random.default_rng(1)
    model.set_weights([w + 0.1 * random.normal(size=w.shape) for w in model.get_weights()])
    return model


def test_padding_side_is_irrelevant(bert):
    right = np.asarray(bert(IDS, padding_mask=RIGHT, token_type_ids=TYPES))
    left = np.asarray(bert(_left(IDS), padding_mask=_left(RIGHT), token_type_ids=_left(TYPES)))
    np.testing.assert_allclose(left[_left(RIGHT)], right[RIGHT], atol=1e-5)
    np.testing.assert_allclose(bert.pool(left, _left(RIGHT)), bert.pool(right, RIGHT), atol=1e-5)


def test_padding_changes_nothing(bert):
    padded = np.asarray(bert(IDS, padding_mask=RIGHT, token_type_ids=TYPES))
    for row, length in enumerate(LENGTHS):
        alone = bert(IDS[row : row + 1, :length], token_type_ids=TYPES[row : row + 1, :length])
        np.testing.assert_allclose(padded[row, :length], alone[0], atol=1e-5)


def test_both_directions_are_seen(bert):
    changed = IDS.copy()
    changed[:, 3] = (changed[:, 3] + 1) % V
    difference = np.abs(np.asarray(bert(changed)) - np.asarray(bert(IDS)))
    assert (difference.max(axis=2) > 1e-4).all()


def test_token_types_count_and_default_to_the_first(bert):
    plain = np.asarray(bert(IDS))
    np.testing.assert_array_equal(bert(IDS, token_type_ids=np.zeros_like(IDS)), plain)
    assert np.abs(np.asarray(bert(IDS, token_type_ids=np.ones_like(IDS))) - plain).max() > 0.01


def test_pooling_is_the_tanh_of_the_first_real_state(bert):
    hidden = np.asarray(bert(IDS, padding_mask=_left(RIGHT)))
    kernel, bias = bert.pooler.get_weights()
    first = hidden[np.arange(B), T - LENGTHS]
    np.testing.assert_allclose(
        bert.pool(hidden, _left(RIGHT)), np.tanh(first @ kernel + bias), atol=1e-5
    )
    np.testing.assert_allclose(bert.pool(hidden), np.tanh(hidden[:, 0] @ kernel + bias), atol=1e-5)


def test_a_row_of_padding_alone_is_finite(bert):
    assert np.isfinite(bert(IDS, padding_mask=np.zeros((B, T), "bool"))).all()


def test_masked_lm_reads_out_with_the_embedding_table(bert):
    model = MaskedLM(bert)
    logits = np.asarray(model(IDS, padding_mask=RIGHT))
    head = model.head
    x = np.asarray(head.norm(_gelu(np.asarray(head.dense(bert(IDS, padding_mask=RIGHT))))))
    head.bias.assign(np.arange(V))
    expected = x @ np.asarray(bert.token_embedding.embeddings).T
    np.testing.assert_allclose(logits[RIGHT], expected[RIGHT], atol=1e-4)
    shifted = np.asarray(model(IDS, padding_mask=RIGHT))
    np.testing.assert_allclose(shifted[RIGHT], (expected + np.arange(V))[RIGHT], atol=1e-4)


def _gelu(x):
    from scipy.special import erf

    return (0.5 * x * (1 + erf(x / np.sqrt(2)))).astype("float32")


def test_classifiers_see_the_pooled_vector_or_every_token(bert):
    pair = NextSentenceClassifier(bert)
    hidden = bert(IDS, padding_mask=RIGHT, token_type_ids=TYPES)
    np.testing.assert_allclose(
        pair(IDS, padding_mask=RIGHT, token_type_ids=TYPES),
        pair.head.dense(bert.pool(hidden, RIGHT)),
        atol=1e-5,
    )
    tagger = TokenClassifier(bert, num_classes=4)
    np.testing.assert_allclose(
        tagger(IDS, padding_mask=RIGHT, token_type_ids=TYPES), tagger.head.dense(hidden), atol=1e-5
    )


def _parameters(c: BERTConfig) -> int:
    hidden = c.hidden_dim or 4 * c.width
    tables = c.width * (c.vocab_size + c.max_positions + c.num_token_types)
    attention = 4 * c.width * (c.width + 1)
    feed_forward = 2 * c.width * hidden + hidden + c.width
    norms = 2 * 2 * c.width
    pooler = c.width * (c.width + 1)
    return tables + 2 * c.width + c.num_layers * (attention + feed_forward + norms) + pooler


@pytest.mark.parametrize("config", [CONFIG, PRESETS["tiny"], CONFIG.replace(hidden_dim=9)])
def test_number_of_parameters_follows_from_the_configuration(config):
    assert BERT(config).count_params() == _parameters(config)


@pytest.mark.parametrize(
    "name, published",
    [("bert_base", 109_482_240), ("bert_base_chinese", 102_267_648), ("bert_large", 335_141_888)],
)
def test_presets_have_the_published_sizes(name, published):
    assert _parameters(BERTConfig.from_preset(name)) == published
