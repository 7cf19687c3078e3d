"""Blocks that are computed twice: the same losses and gradients as those that keep their states."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign.layers import ResidualBlock
from tfalign.models import (
    BERTConfig,
    CausalLM,
    GPTConfig,
    MaskedLM,
    Transformer,
    TransformerConfig,
)
from tfalign.models.lora import LoRA, add_adapters
from tfalign.training.learner import Learner
from tfalign.training.optimizers import adamw

IDS = np.random.default_rng(0).integers(3, 11, (2, 6)).astype("int32")


def squares(model, batch, training=True):
    """A loss that asks every state: the mean square of the logits."""
    return ops.mean(ops.square(model(*batch, training=training))), ops.ones(()), {}


MODELS = {
    "gpt": (lambda: CausalLM(GPTConfig(11, 8, 2, 2, max_positions=8)), (IDS,)),
    "llama": (
        lambda: CausalLM(
            GPTConfig(
                11, 8, 2, 2, num_key_value_heads=1, max_positions=8, rotary_base=1e4, gated=True
            )
        ),
        (IDS,),
    ),
    "bert": (lambda: MaskedLM(BERTConfig(11, 8, 2, 2, max_positions=8)), (IDS,)),
    "transformer": (lambda: Transformer(TransformerConfig(11, 8, 2, 2)), (IDS, IDS[:, :4])),
}


def updated(make, batch, monkeypatch, remat):
    monkeypatch.setattr(ResidualBlock, "remat", remat)
    model = make()
    for number, variable in enumerate(model.trainable_variables):
        values = np.random.default_rng(number).normal(size=variable.shape)
        variable.assign(0.3 * values.astype("float32"))
    metrics = Learner(model, squares, adamw(1e-2)).update(batch)
    return {name: float(value) for name, value in metrics.items()}, model.get_weights()


@pytest.mark.slow
@pytest.mark.parametrize("name", with_slow(MODELS, ["gpt"]))
def test_an_update_is_the_same(name, monkeypatch):
    make, batch = MODELS[name]
    metrics, weights = updated(make, batch, monkeypatch, remat=False)
    again, other = updated(make, batch, monkeypatch, remat=True)
    assert metrics["gradient_norm"] > 0
    assert again == pytest.approx(metrics, rel=1e-5)
    for weight, expected in zip(other, weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-5)


def test_dropout_would_drop_something_else_the_second_time(monkeypatch):
    monkeypatch.setattr(ResidualBlock, "remat", True)
    model = CausalLM(GPTConfig(11, 8, 1, 2, max_positions=8, dropout=0.1))
    with pytest.raises(ValueError, match="remat needs dropout 0. Received: dropout=0.1"):
        model(IDS, training=True)
    model = CausalLM(GPTConfig(11, 8, 1, 2, max_positions=8))
    add_adapters(model, LoRA(2, dropout=0.2, targets=("block_",)))
    with pytest.raises(ValueError, match="remat needs dropout 0. Received: dropout=0.2"):
        model(IDS, training=True)
    model(IDS, training=False)  # nothing is dropped
