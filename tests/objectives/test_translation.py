"""Label smoothing against Keras' own, and teacher forcing by hand."""

import keras
import numpy as np
import pytest

from tfalign.functional.losses import smoothed_token_loss
from tfalign.models import Transformer, TransformerConfig
from tfalign.objectives import Translation
from tfalign.types import SequencePairs

V, B, S, T = 9, 3, 5, 4
_random = np.random.default_rng(0)
LOGITS = 3 * _random.normal(size=(B, T, V)).astype("float32")
TOKENS = _random.integers(0, V, size=(B, T)).astype("int32")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_smoothing_is_that_of_keras(smoothing):
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction=None
    )
    expected = loss(np.eye(V, dtype="float32")[TOKENS], LOGITS)
    np.testing.assert_allclose(
        smoothed_token_loss(LOGITS, TOKENS, smoothing), expected, rtol=1e-5, atol=1e-5
    )


def test_each_target_token_is_predicted_from_those_before_it():
    model = Transformer(TransformerConfig(V, 8, 1, 2))
    source, target = (_random.integers(1, V, (B, n)).astype("int32") for n in (S, T + 1))
    source_mask = np.arange(S) < np.array([5, 2, 3])[:, None]
    target_mask = np.arange(T + 1) < np.array([5, 3, 2])[:, None]
    batch = SequencePairs(source, source_mask, target, target_mask)
    loss, weight, metrics = Translation(0.0)(model, batch)
    expected, right = 0.0, 0
    for row in range(B):  # without padding: only what is real, a token at a time
        real = source[row : row + 1, : source_mask[row].sum()]
        for t in range(1, target_mask[row].sum()):
            logits = np.asarray(model(real, target[row : row + 1, :t]))[0, -1].astype("float64")
            expected += np.log(np.exp(logits).sum()) - logits[target[row, t]]
            right += logits.argmax() == target[row, t]
    assert float(weight) == 4 + 2 + 1
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
    np.testing.assert_allclose(float(metrics["nll"][0]), expected, rtol=1e-5)
    assert float(metrics["accuracy"][0]) == right
    smoothed, _, metrics = Translation(0.2)(model, batch)
    np.testing.assert_allclose(float(metrics["nll"][0]), expected, rtol=1e-5)
    assert abs(float(smoothed) - expected) > 1e-2


def test_impossible_smoothing():
    with pytest.raises(ValueError, match="Received: 1.0"):
        Translation(1.0)
