"""Contrastive losses by hand, and against a loop in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.data import CompletionRecord, RankedRecord, encode_contrastive
from tfalign.functional.losses import contrastive_loss
from tfalign.objectives import Contrastive, SymmetricContrastive
from tfalign.text import train_characters
from tfalign.types import ContrastiveTexts


class Table(keras.Model):
    """The vector of a text is that of its first token."""

    def __init__(self, vectors):
        super().__init__()
        vectors = np.asarray(vectors, "float32")
        self.vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def call(self, token_ids, padding_mask=None, training=None):
        return ops.take(ops.convert_to_tensor(self.vectors), token_ids[:, 0], axis=0)


ROLES = {"pad": "_", "unk": "?", "eos": "$"}


def batch(queries, documents):
    """Texts of two tokens, the second is padding."""
    sides = []
    for tokens in (queries, documents):
        ids = np.stack([tokens, np.zeros(len(tokens))], axis=1).astype("int32")
        sides += [ids, np.arange(2) < np.ones((len(tokens), 1))]
    return ContrastiveTexts(*sides)


def oracle(queries, documents, same, temperature):
    """float64[B], a loop over rows and candidates."""
    losses = []
    for row, query in enumerate(queries):
        scores = {c: query @ d / temperature for c, d in enumerate(documents)}
        kept = [s for c, s in scores.items() if c == row or not same[row][c]]
        losses.append(np.log(np.sum(np.exp(kept))) - scores[row])
    return np.array(losses)


def test_the_loss_by_hand():
    """Scores log 3, 0 and log 2, log 6: 3 / (3 + 1), and 6 / (2 + 6)."""
    scores = np.log([[3.0, 1.0], [2.0, 6.0]]).astype("float32")
    np.testing.assert_allclose(contrastive_loss(scores), -np.log([3 / 4, 6 / 8]), rtol=1e-5)
    excluded = np.array([[True, True], [False, True]])  # the own one always stays
    np.testing.assert_allclose(
        contrastive_loss(scores, excluded), [0, -np.log(6 / 8)], rtol=1e-5, atol=1e-6
    )


VECTORS = np.random.default_rng(0).normal(size=(9, 4))
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=-1, keepdims=True)
QUERIES, DOCUMENTS = (
    [0, 1, 2],
    [3, 4, 3, 5, 6, 7],
)  # rows 0 and 2 have the same document; 3 negatives
SAME = [[c == r or DOCUMENTS[c] == DOCUMENTS[r] for c in range(6)] for r in range(3)]


def test_in_batch_and_hard_negatives_against_the_oracle():
    loss, weight, metrics = Contrastive(0.1)(Table(VECTORS), batch(QUERIES, DOCUMENTS))
    expected = oracle(UNIT[QUERIES], UNIT[DOCUMENTS], SAME, 0.1)
    assert float(loss) == pytest.approx(expected.sum(), rel=1e-5)
    nearest = (UNIT[QUERIES] @ UNIT[DOCUMENTS].T).argmax(axis=1)
    right = sum(SAME[row][at] for row, at in enumerate(nearest))
    assert (float(weight), float(metrics["accuracy"][0])) == (3, right)


def test_symmetric_against_the_oracle():
    """Backwards, documents 0 and 2 are one, and each other's query no negative."""
    loss, _, _ = SymmetricContrastive(0.1)(Table(VECTORS), batch(QUERIES, DOCUMENTS))
    forwards = oracle(UNIT[QUERIES], UNIT[DOCUMENTS], SAME, 0.1)
    backwards = oracle(UNIT[DOCUMENTS[:3]], UNIT[QUERIES], SAME, 0.1)
    assert float(loss) == pytest.approx((forwards + backwards).sum() / 2, rel=1e-5)


def test_padding_does_not_make_texts_differ():
    """What stands at padding is nobody's business."""
    first = batch([0, 1], [3, 3])
    first.document_ids[1, 1] = 5
    loss, _, _ = Contrastive()(Table(VECTORS), first)
    assert float(loss) == pytest.approx(0, abs=1e-5)


def test_a_temperature_must_be_positive():
    with pytest.raises(ValueError, match="Received: temperature=0"):
        Contrastive(0)


def test_records_as_batches():
    """Own documents first, in the queries' order, then first and second negatives."""
    tokenizer = train_characters(["abcdefgh"], ROLES)
    records = [RankedRecord("a", ("b", "c", "d")), RankedRecord("e", ("f", "g", "h"))]
    examples = encode_contrastive(records, tokenizer, max_tokens=4)
    made = examples.batch(np.array([1, 0]), 3)
    texts = [tokenizer.decode(row[m][:-1].tolist()) for row, m in zip(*made[2:])]  # before the EOS
    assert texts == ["f", "b", "g", "c", "h", "d"]
    assert [tokenizer.decode(row[m][:-1].tolist()) for row, m in zip(*made[:2])] == ["e", "a"]
    assert examples.token_counts.tolist() == [8, 8]
    pairs = [CompletionRecord("a", "bc"), CompletionRecord("d", "e")]
    assert encode_contrastive(pairs, tokenizer, 4).lengths.tolist() == [3, 2]


def test_unequal_numbers_of_documents_are_told():
    tokenizer = train_characters(["abc"], ROLES)
    records = [RankedRecord("a", ("b", "c")), CompletionRecord("a", "b", source="x:2")]
    with pytest.raises(ValueError, match="x:2: each query needs equally many documents, 2.*: 1"):
        encode_contrastive(records, tokenizer, 4)
    with pytest.raises(ValueError, match="There are no records"):
        encode_contrastive([], tokenizer, 4)
