"""BERT's two losses by hand, and that only hidden columns meet the vocabulary."""

import keras
import numpy as np
import pytest

from tfalign.models import BERTConfig, BERTPretrainer, MaskedLM, from_pretrained
from tfalign.objectives import BERTPretraining, MaskedLanguageModelling
from tfalign.types import MaskedTexts

V, B, T, M = 13, 3, 7, 3
CONFIG = BERTConfig(V, 12, 1, 2, max_positions=8, initializer_range=0.3)
_random = np.random.default_rng(0)
BATCH = MaskedTexts(
    token_ids=_random.integers(0, V, (B, T)).astype("int32"),
    padding_mask=np.arange(T) < np.array([7, 4, 6])[:, None],
    token_type_ids=(np.arange(T) > 2).astype("int32") * np.ones((B, 1), "int32"),
    hidden_columns=np.array([[1, 2, 5], [3, 0, 0], [2, 4, 0]], "int32"),
    hidden_ids=_random.integers(0, V, (B, M)).astype("int32"),
    is_hidden=np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], "bool"),
    is_random=np.array([0, 1, 1], "int32"),
)


@pytest.fixture(scope="module")
def model():
    return BERTPretrainer(CONFIG)


def log_softmax(logits):
    logits = np.asarray(logits).astype("float64")
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def expected(model):
    """(losses of the hidden tokens by row, losses of the second task), from the whole logits."""
    masked, follows = model(
        BATCH.token_ids, padding_mask=BATCH.padding_mask, token_type_ids=BATCH.token_type_ids
    )
    masked, follows = log_softmax(masked), log_softmax(follows)
    rows = [
        -sum(
            masked[b, column, token]
            for column, token, hidden in zip(
                BATCH.hidden_columns[b], BATCH.hidden_ids[b], BATCH.is_hidden[b]
            )
            if hidden
        )
        for b in range(B)
    ]
    return np.array(rows), -follows[np.arange(B), BATCH.is_random]


def test_hidden_tokens_alone(model):
    loss, weight, metrics = MaskedLanguageModelling()(model, BATCH)
    np.testing.assert_allclose(float(loss), expected(model)[0].sum(), rtol=1e-5)
    assert float(weight) == 6 and float(metrics["masked_accuracy"][1]) == 6


def test_both_losses(model):
    loss, weight, metrics = BERTPretraining()(model, BATCH)
    masked, follows = expected(model)
    np.testing.assert_allclose(float(metrics["masked_loss"][0]), masked.sum(), rtol=1e-5)
    np.testing.assert_allclose(float(metrics["next_loss"][0]), follows.sum(), rtol=1e-5)
    np.testing.assert_allclose(
        float(loss), masked.sum() + (np.array([3, 1, 2]) * follows).sum(), rtol=1e-5
    )
    assert float(weight) == 6 and float(metrics["next_accuracy"][1]) == B


def test_parts_of_a_batch_add_up(model):
    whole = BERTPretraining()(model, BATCH)
    parts = [
        BERTPretraining()(model, keras.tree.map_structure(lambda x, r=rows: x[r], BATCH))
        for rows in (slice(0, 1), slice(1, 3))
    ]
    for index in (0, 1):
        np.testing.assert_allclose(
            float(whole[index]), sum(float(part[index]) for part in parts), rtol=1e-5
        )


def test_only_hidden_columns_meet_the_vocabulary(monkeypatch):
    model, seen = MaskedLM(CONFIG), []
    read = type(model.head).call
    monkeypatch.setattr(
        type(model.head),
        "call",
        lambda head, hidden, kernel: seen.append(hidden.shape) or read(head, hidden, kernel),
    )
    MaskedLanguageModelling()(model, BATCH)
    assert [tuple(shape) for shape in seen] == [(B, M, 12)]


def test_the_pretrained_model_comes_back_from_its_directory(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    assert type(again) is BERTPretrainer
    for left, right in zip(model(BATCH.token_ids), again(BATCH.token_ids)):
        np.testing.assert_array_equal(left, right)
