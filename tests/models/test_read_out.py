"""The logits are whole while they are few; of many a part at a time gives the same, under a constraint, too."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.decoding.constraints import restriction
from tfalign.models import CausalLM, GPTConfig, keras_hub
from tfalign.models import read_out as module
from tfalign.models.read_out import chunk_by_size, product_kernel, read_out_with_entropies


@pytest.mark.parametrize(
    "vocab_size, rows, columns, chunk",
    [
        (50_257, 1, 1335, 0),  # 67,093,095 of 67,108,864
        (50_257, 1, 1336, 333),  # 67,143,352
        (50_257, 8, 1024, 333),
        (50_257, 512, 1024, 512),  # never less than a column
        (512, 64, 96, 0),
    ],
)
def test_the_size_decides(vocab_size, rows, columns, chunk):
    assert chunk_by_size(rows, columns, vocab_size) == chunk


def test_accelerators_hold_more():
    assert chunk_by_size(8, 1335, 50_257, platform="tpu") == 0
    assert chunk_by_size(8, 1336, 50_257, platform="tpu") == 2**26 // 50_257
    assert chunk_by_size(8, 1336, 50_257, 2, "gpu") == 0


def test_devices_share_the_positions(monkeypatch):
    assert module._sharing() == 1
    monkeypatch.setattr(module, "current_mesh", lambda: {"fsdp": 4, "model": 2, "context": 2})
    assert module._sharing() == 8
    assert chunk_by_size(8, 1335, 50_257, 8) == 0
    assert chunk_by_size(8, 1336, 50_257, 8) == 8 * 2**24 // 50_257


class _Given:
    """States that are logits already."""

    def logits(self, hidden):
        return hidden


class _Table(_Given):
    def readout_kernel(self):
        return None


@pytest.mark.parametrize("model", [_Given(), _Table()])
def test_logits_that_are_no_product_stay_whole(model, monkeypatch):
    monkeypatch.setattr(module, "MOST_LOGITS", 1)
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
    tokens = np.array([[0, 1, 2], [3, 4, 0]], "int32")
    found, entropies = read_out_with_entropies(model, ops.convert_to_tensor(logits), tokens)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_probs, tokens[..., None], -1)[..., 0]
    np.testing.assert_allclose(found, chosen, rtol=1e-5)
    np.testing.assert_allclose(entropies, -(np.exp(log_probs) * log_probs).sum(-1), rtol=1e-5)
    with pytest.raises(ValueError, match=f"Received: a {type(model).__name__}"):
        read_out_with_entropies(model, ops.convert_to_tensor(logits), tokens, chunk=2)


class _Ban:
    """A constraint that bans the token that is its state's number."""

    def allowed(self, states):
        return ops.arange(11) != states[..., None]


@pytest.mark.parametrize("rows", [3, 40])  # fewer than a chunk, and more
@pytest.mark.parametrize("constraint", [None, _Ban()])
def test_a_part_at_a_time_is_the_same(rows, constraint, monkeypatch):
    cap = None if constraint is None else 0.5
    model = CausalLM(GPTConfig(11, 16, 1, 2, max_positions=8, logit_softcap=cap))
    rng = np.random.default_rng(0)
    hidden = ops.convert_to_tensor(rng.normal(size=(rows, 7, 16)).astype("float32"))
    tokens = rng.integers(0, 5, (rows, 7)).astype("int32")
    states = rng.integers(5, 11, (rows, 7)).astype("int32")
    given, restrict = (model, hidden, tokens, 0.7), restriction(constraint)
    whole = read_out_with_entropies(*given, 0, restrict, states)
    for chunk in (1, 7, 10, 21, 1000):
        for one, other in zip(
            whole, read_out_with_entropies(*given, chunk, restrict, states), strict=True
        ):
            np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-6)
    monkeypatch.setattr(module, "MOST_LOGITS", 50)
    monkeypatch.setattr(module, "LOGITS_OF_A_CHUNK", 99)
    for one, other in zip(
        whole, read_out_with_entropies(*given, None, restrict, states), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-6)


def test_logits_that_are_capped_are_no_product():
    class Hub:
        backbone = keras.layers.Layer()

    model = keras_hub.KerasHubCausalLM.__new__(keras_hub.KerasHubCausalLM)
    keras.Model.__init__(model)
    model.hub = Hub()
    for cap in (None, 3.0):
        embedding = keras.layers.ReversibleEmbedding(11, 16, logit_soft_cap=cap)
        embedding.build()
        Hub.backbone.token_embedding = embedding
        assert (model.readout_kernel() is None) == (cap is not None)
    with pytest.raises(ValueError, match="Received: a KerasHubCausalLM"):
        product_kernel(model)
    with pytest.raises(ValueError, match="Received: a CausalLM"):
        product_kernel(CausalLM(GPTConfig(11, 16, 1, 2, logit_softcap=3.0)))
