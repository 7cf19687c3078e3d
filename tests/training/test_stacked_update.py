"""AdamW on stacks of equal variables: the numbers of AdamW on each of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfalign.layers import ResidualBlock
from tfalign.training.optimizers import WarmupDecay, adafactor, adamw
from tfalign.training.stacked_update import StackedUpdate

SHAPES = {"kernel": (3, 2), "bias": (2,)}


class Blocks(keras.layers.Layer):
    """Three blocks of a kernel and a bias, and an embedding between their paths."""

    def __init__(self):
        super().__init__(name="blocks")
        rng = np.random.default_rng(0)
        names = [(f"block_{n}", name) for n in range(3) for name in SHAPES]
        for path, name in (*names[:3], ("embedding", "kernel"), *names[3:]):
            with keras.name_scope(path):
                values = rng.normal(size=SHAPES[name])
                variable = self.add_weight(name=name, shape=SHAPES[name])
            variable.assign(values)


def trained(optimizer, stacked):
    variables = Blocks().trainable_variables
    optimizer.build(variables)
    update = StackedUpdate(optimizer, variables)
    assert update.is_stacked == stacked
    rng = np.random.default_rng(1)
    for size in (0.01, 3.0, 1.0):  # below the norm that is clipped to, and above
        gradients = [size * rng.normal(size=v.shape).astype("float32") for v in variables]
        update.apply(update.join([keras.ops.convert_to_tensor(g) for g in gradients]))
    return update, [np.asarray(v, "float32") for v in (*variables, *optimizer.variables)]


@pytest.mark.parametrize("more", [{}, {"clip_norm": None, "weight_decay": 0.0}])
def test_numbers_are_those_of_each_variable_alone(more, monkeypatch):
    results = []
    for scan in (False, True):
        monkeypatch.setattr(ResidualBlock, "scan", scan)
        rate = WarmupDecay(0.1, steps=5, warmup_steps=2)
        update, values = trained(adamw(rate, **({"weight_decay": 0.1} | more)), scan)
        results.append(values)
    assert update.groups == [[0, 2, 5], [1, 4, 6], [3]]
    for value, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


def test_other_optimizers_and_shallow_models_are_left_alone(monkeypatch):
    trained(adamw(0.1), stacked=False)
    monkeypatch.setattr(ResidualBlock, "scan", True)
    trained(adafactor(0.1), stacked=False)
    trained(adamw(0.1, use_ema=True), stacked=False)
    trained(adamw(0.1, momentum_dtype="bfloat16"), stacked=False)
