"""Classes of texts and of words, and similarity of sentences, by hand."""

import numpy as np
import pytest

from tfalign.models import BERTConfig, SentenceEncoder, SequenceClassifier, TokenClassifier
from tfalign.objectives import Classification, SentenceSimilarity, Tagging, cosine_of_pairs
from tfalign.types import ClassifiedTexts, SimilarTexts, TaggedTexts

V, B, T = 11, 3, 5
CONFIG = BERTConfig(V, 12, 1, 2, max_positions=8, initializer_range=0.3)
_random = np.random.default_rng(0)
IDS = _random.integers(0, V, size=(B, T)).astype("int32")
MASK = np.arange(T) < np.array([5, 3, 4])[:, None]


def cross_entropy(logits, labels):
    logits = logits.astype("float64")
    normal = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.take_along_axis(normal, labels[..., None], -1)[..., 0]


def test_classes_of_texts():
    model, labels = SequenceClassifier(CONFIG, 4), np.array([3, 0, 2], "int32")
    loss, weight, metrics = Classification()(model, ClassifiedTexts(IDS, MASK, labels))
    logits = np.asarray(model(IDS, padding_mask=MASK))
    assert float(loss) == pytest.approx(cross_entropy(logits, labels).sum(), rel=1e-5)
    assert float(weight) == 3
    assert float(metrics["accuracy"][0]) == np.sum(logits.argmax(-1) == labels)


def test_tags_count_at_first_tokens_alone():
    model = TokenClassifier(CONFIG, 4)
    labels = _random.integers(0, 4, size=(B, T)).astype("int32")
    is_word = MASK & (_random.random((B, T)) < 0.6)
    loss, weight, metrics = Tagging()(model, TaggedTexts(IDS, MASK, labels, is_word))
    logits = np.asarray(model(IDS, padding_mask=MASK))
    expected = cross_entropy(logits, labels)[is_word]
    assert float(loss) == pytest.approx(expected.sum(), rel=1e-5)
    assert float(weight) == is_word.sum() > 3
    right = (logits.argmax(-1) == labels)[is_word].sum()
    assert [float(x) for x in metrics["accuracy"]] == [right, is_word.sum()]


def test_sentence_embeddings_are_mean_states_of_length_1():
    model = SentenceEncoder(CONFIG)
    hidden = np.asarray(model.backbone(IDS, padding_mask=MASK))
    means = np.stack([row[mask].mean(axis=0) for row, mask in zip(hidden, MASK)])
    expected = means / np.linalg.norm(means, axis=-1, keepdims=True)
    np.testing.assert_allclose(model(IDS, padding_mask=MASK), expected, atol=1e-5)
    np.testing.assert_allclose(
        model(IDS[:1]), model(IDS[:1], padding_mask=np.ones((1, T), "bool")), atol=1e-5
    )


def test_similarity_is_the_cosine():
    model, similarity = SentenceEncoder(CONFIG), np.array([1.0, 0.0, 0.5], "float32")
    batch = SimilarTexts(IDS, MASK, IDS[::-1], MASK[::-1], similarity)
    vectors = np.asarray(model(IDS, padding_mask=MASK))
    cosines = (vectors * vectors[::-1]).sum(axis=-1)
    np.testing.assert_allclose(cosine_of_pairs(model, batch), cosines, atol=1e-5)
    loss, weight, _ = SentenceSimilarity()(model, batch)
    assert float(loss) == pytest.approx(((cosines - similarity) ** 2).sum(), rel=1e-4)
    assert float(weight) == 3
