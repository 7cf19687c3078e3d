"""The logits are whole while they are few; of many a part at a time gives the same, under a constraint, too."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.models import CausalLM, GPTConfig, keras_hub
from tfalign.objectives import read_out as module
from tfalign.objectives.read_out import chunk_by_size, read_out


class _OfSize:
    def __init__(self, vocab_size):
        self._vocab_size = vocab_size

    def readout_kernel(self):
        return np.zeros((1, self._vocab_size))


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
    assert chunk_by_size(_OfSize(vocab_size), rows, columns) == chunk


class _Table:
    """States that are logits already."""

    def readout_kernel(self):
        return None


@pytest.mark.parametrize("model", [object(), _Table()])
def test_logits_that_are_no_product_stay_whole(model):
    assert chunk_by_size(model, 512, 2**20) == 0


def test_devices_share_the_rows(monkeypatch):
    monkeypatch.setattr(module, "current_mesh", lambda: {"data": 2, "fsdp": 4, "model": 2})
    assert chunk_by_size(_OfSize(50_257), 8, 1335) == 0
    assert chunk_by_size(_OfSize(50_257), 8, 1336) == 8 * 2**24 // 50_257


class _Ban:
    """A constraint that bans the token that is its state's number."""

    def allowed(self, states):
        return ops.arange(11) != states[..., None]


@pytest.mark.parametrize("rows", [3, 40])  # fewer than a chunk, and more
@pytest.mark.parametrize("constraint", [None, _Ban()])
def test_a_part_at_a_time_is_the_same(rows, constraint, monkeypatch):
    model = CausalLM(GPTConfig(11, 16, 1, 2, max_positions=8))
    rng = np.random.default_rng(0)
    hidden = ops.convert_to_tensor(rng.normal(size=(rows, 7, 16)).astype("float32"))
    tokens = rng.integers(0, 5, (rows, 7)).astype("int32")
    states = rng.integers(5, 11, (rows, 7)).astype("int32")
    given = model, hidden, tokens, 0.7
    whole = read_out(*given, 0, constraint, states)
    for chunk in (1, 7, 10, 21, 1000):
        for one, other in zip(whole, read_out(*given, chunk, constraint, states), strict=True):
            np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-6)
    monkeypatch.setattr(module, "MOST_LOGITS", 50)
    monkeypatch.setattr(module, "LOGITS_OF_A_CHUNK", 99)
    for one, other in zip(whole, read_out(*given, None, constraint, states), strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-6)


def test_logits_that_are_capped_stay_whole():
    class Hub:
        backbone = keras.layers.Layer()

    Hub.backbone.token_embedding = keras.layers.ReversibleEmbedding(11, 16, logit_soft_cap=3.0)
    model = keras_hub.KerasHubCausalLM.__new__(keras_hub.KerasHubCausalLM)
    keras.Model.__init__(model)
    model.hub = Hub()
    assert chunk_by_size(model, 64, 1024) == 0
    with pytest.raises(ValueError, match="--chunk=0. Received: logit_soft_cap=3.0"):
        model.readout_kernel()
