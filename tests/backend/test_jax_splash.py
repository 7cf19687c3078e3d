"""The kernel for TPUs, interpreted, beside the materialised attention."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("a kernel of JAX", allow_module_level=True)

import jax

from tests.sampling import with_slow
from tfalign.backend.jax_splash import splash_attention
from tfalign.layers import Visibility, scaled_dot_product_attention

B, T, D = 2, 150, 8
PADDING = np.stack([np.arange(T) < 131, np.arange(T) >= 40])
SEGMENTS = np.stack([np.repeat([1, 2, 3, 0], [30, 60, 50, 10]), np.repeat([1, 2], [149, 1])])
RULES = {
    "padding on either side": Visibility.of_real(PADDING, causal=True),
    "packed, in a window": Visibility.of_documents(SEGMENTS, causal=True, window=20),
    "an encoder's": Visibility.of_real(PADDING),
    "no documents, in a window on either side": Visibility(window=9),
}


@pytest.mark.parametrize("name", with_slow(RULES, ["packed, in a window"]))
def test_equals_the_materialised_attention(name):
    """Forward and gradients, of two query heads a key-value head and a length that is no multiple of 128."""
    rule, random = RULES[name], np.random.default_rng(0)
    heads = [random.normal(size=(B, n, T, D)).astype("float32") for n in (4, 2, 2, 4)]
    real = np.ones((B, T), "bool")
    if rule.key_documents is not None:
        real = np.asarray(rule.key_documents) > 0
    weights = heads.pop() * real[:, None, :, None]
    given = {x: getattr(rule, x) for x in ("query_documents", "key_documents", "causal", "window")}

    cap = 0.7 if rule.causal and rule.window else None

    def sum_of(attend):
        return jax.value_and_grad(lambda heads: (attend(*heads) * weights).sum())(heads)

    found = sum_of(lambda *heads: splash_attention(*heads, **given, score_cap=cap, interpret=True))
    expected = sum_of(lambda *heads: scaled_dot_product_attention(*heads, rule, cap)[0])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for mine, other in zip(found[1], expected[1]):
        np.testing.assert_allclose(mine, other, atol=2e-5)
