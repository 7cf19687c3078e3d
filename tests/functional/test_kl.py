import numpy as np
import pytest

from tfalign.functional import kl
from tfalign.functional.log_probs import MAX_LOG_RATIO

HALF, QUARTER = np.log(0.5), np.log(0.25)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [  # the policy gives the token twice the reference's probability, then half of it
        (kl.k1, [np.log(2), -np.log(2)]),
        (kl.k2, [np.log(2) ** 2 / 2, np.log(2) ** 2 / 2]),
        (kl.k3, [0.5 + np.log(2) - 1, 2 - np.log(2) - 1]),
    ],
)
def test_estimators_by_hand(estimator, expected):
    log_probs = np.array([[HALF, QUARTER]], "float32")
    ref_log_probs = np.array([[QUARTER, HALF]], "float32")
    np.testing.assert_allclose(estimator(log_probs, ref_log_probs), [expected], rtol=1e-6)


def test_k1_and_k3_have_the_divergence_as_their_mean(rng):
    logits, ref_logits = rng.normal(size=(2, 1, 1, 6)).astype("float32")
    probs, ref_probs = (np.exp(x[0, 0]) / np.exp(x[0, 0]).sum() for x in (logits, ref_logits))
    exact = float(kl.full_kl(logits, ref_logits)[0, 0])
    np.testing.assert_allclose(exact, (probs * np.log(probs / ref_probs)).sum(), rtol=1e-5)
    for estimator in (kl.k1, kl.k3):  # every token once, weighed by its probability
        per_token = np.asarray(estimator(np.log(probs)[None], np.log(ref_probs)[None]))
        np.testing.assert_allclose((probs * per_token[0]).sum(), exact, rtol=1e-5)


def test_k3_is_precise_near_zero():
    d = np.float32(1e-3)
    result = kl.k3(np.array([[-1.0]], "float32"), np.array([[-1.0]], "float32") + d)
    np.testing.assert_allclose(result, [[d * d / 2]], rtol=0.1)


@pytest.mark.parametrize("difference", [25.0, 89.0, 1e30, -89.0, -1e30])
def test_k3_never_overflows_nor_pushes_away(difference, compiled):
    log_probs = np.array([[-difference]], "float32")
    values, (gradient, _) = compiled(kl.k3)(log_probs, np.zeros((1, 1), "float32"))
    assert np.isfinite(values).all() and (values >= 0).all()
    held = np.exp(MAX_LOG_RATIO) - MAX_LOG_RATIO - 1
    expected = held if difference > 0 else -difference - 1
    np.testing.assert_allclose(values, [[expected]], rtol=1e-5)
    # Above the reference the loss pulls log_probs down; far below it the exponent is held.
    np.testing.assert_allclose(gradient, [[0.0 if difference > 0 else 1.0]])


def test_full_kl_by_hand_and_at_a_temperature():
    logits = np.array([[[0.0, np.log(3.0)]]], "float32")
    uniform_logits = np.zeros((1, 1, 2), "float32")
    for temperature, p in ((1.0, 0.75), (0.5, 0.9)):
        expected = p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))
        result = kl.full_kl(logits, uniform_logits, temperature)
        np.testing.assert_allclose(result, [[expected]], rtol=1e-5)


def test_full_kl_of_banned_tokens(compiled):
    banned = np.array([[[-np.inf, 0.0, 0.0]]], "float32")
    free = np.zeros((1, 1, 3), "float32")
    values, gradients = compiled(kl.full_kl)(banned, free)
    np.testing.assert_allclose(values, [[np.log(1.5)]], rtol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(kl.full_kl(banned, banned), [[0.0]], atol=1e-7)
    np.testing.assert_array_equal(kl.full_kl(free, banned), [[np.inf]])
