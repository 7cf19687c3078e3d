"""Mixtures of experts: routing by hand, dropped tokens counted, and what is recorded found again."""

import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.layers import MixtureOfExperts, ResidualBlock
from tfalign.layers.routing import collected, total
from tfalign.models import GPT, GPTConfig

E, W, F = 3, 3, 2
# logits of a token are its features; three tokens, and one of padding in front of the last
LOGITS = np.array([[[3.0, 2.0, 0.0], [3.0, 0.0, 2.0], [9.0, 9.0, 9.0], [2.0, 1.0, 0.0]]], "float32")
REAL = np.array([[True, True, False, True]])


def _layer(**choices):
    layer = MixtureOfExperts(E, 2, F, **choices)
    layer.build((None, None, W))
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
    layer.router.kernel.assign(np.eye(E))
    return layer


def _expert(layer, number, x):
    gate, inner, outer = (np.asarray(w)[number] for w in layer.experts.weights)
    gated = x @ gate
    return gated / (1 + np.exp(-gated)) * (x @ inner) @ outer


def _probabilities(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def _called(layer, x=LOGITS, mask=REAL, training=True):
    with collected() as records:
        y = layer(ops.convert_to_tensor(x), padding_mask=mask, training=training)
    return np.asarray(y), {name: float(v) for name, v in total(records)._asdict().items()}


@pytest.mark.parametrize("normalize", [True, False])
def test_a_token_gets_its_two_experts(normalize):
    layer = _layer(normalize=normalize)
    y, sums = _called(layer)
    for token, experts in {0: (0, 1), 1: (0, 2), 3: (0, 1)}.items():
        x = LOGITS[0, token]
        weights = _probabilities(x)[list(experts)]
        weights = weights / weights.sum() if normalize else weights
        expected = sum(w * _expert(layer, e, x) for w, e in zip(weights, experts))
        np.testing.assert_allclose(y[0, token], expected, rtol=2e-5)
    assert (sums["tokens"], sums["chosen"], sums["dropped"]) == (3, 6, 0)


def test_the_load_balancing_loss_by_hand():
    """Experts 0, 1 and 2 are chosen 3, 2 and 1 times by three tokens."""
    _, sums = _called(_layer(loss_coefficient=0.5))
    mean = _probabilities(LOGITS[0, [0, 1, 3]]).mean(axis=0)
    balance = 3 * (mean * [3 / 3, 2 / 3, 1 / 3]).sum()
    assert sums["balance"] == pytest.approx(3 * balance)
    assert sums["loss"] == pytest.approx(0.5 * 3 * balance)


@pytest.mark.parametrize("padding", [0, 5])
def test_what_there_is_no_room_for_is_dropped_and_counted(padding):
    """Room for two of three tokens: the last one's first choice, expert 0, is full; its second is not."""
    layer = _layer(capacity_factor=1.0)
    x = np.pad(LOGITS, ((0, 0), (padding, 0), (0, 0)), constant_values=7.0)
    y, sums = _called(layer, x, np.pad(REAL, ((0, 0), (padding, 0))))
    whole, _ = _called(layer, training=False)
    y = y[:, padding:]
    np.testing.assert_allclose(y[0, :2], whole[0, :2], rtol=2e-5)
    weight = _probabilities(LOGITS[0, 3])[[0, 1]]
    expected = weight[1] / weight.sum() * _expert(layer, 1, LOGITS[0, 3])
    np.testing.assert_allclose(y[0, 3], expected, rtol=2e-5)
    assert (sums["tokens"], sums["chosen"], sums["dropped"]) == (3, 6, 1)


def test_first_choices_go_before_second_ones():
    """Room for one of two tokens: expert 1 takes the second token, whose first choice it is."""
    x = np.array([[[3.0, 2.0, 0.0], [0.0, 3.0, 2.0]]], "float32")
    layer = _layer(capacity_factor=0.5)
    y, sums = _called(layer, x, None)
    weights = _probabilities(x[0])
    first = weights[0, 0] / weights[0, :2].sum() * _expert(layer, 0, x[0, 0])
    np.testing.assert_allclose(y[0, 0], first, rtol=2e-5)
    assert (sums["chosen"], sums["dropped"]) == (4, 1)


def test_with_room_for_all_nothing_changes():
    """The numbers and the gradient of what computes all experts for all tokens."""
    x = np.random.default_rng(1).normal(size=(2, 7, W)).astype("float32")
    mask = np.arange(7) < np.array([[7], [4]])
    found = []
    for factor in (None, E / 2):
        layer = _layer(capacity_factor=factor)

        def of_real(x, layer=layer):
            return layer(x, padding_mask=mask, training=True) * mask[..., None]

        def both(x, of_real=of_real):
            _, gradient = backend.input_gradient(lambda x: ops.sum(ops.square(of_real(x))), x)
            return of_real(x), gradient

        found.append([np.asarray(y) for y in backend.jit(both)(ops.convert_to_tensor(x))])
    for mine, other in zip(*found):
        np.testing.assert_allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("remat, scan", [(True, False), (False, True), (True, True)])
def test_what_is_recorded_leaves_recomputed_blocks_and_loops(remat, scan, monkeypatch):
    config = GPTConfig(9, 8, 4, 2, num_experts=3, expert_capacity=0.6, initializer_range=0.5)
    ids = np.random.default_rng(0).integers(0, 9, (2, 6)).astype("int32")
    model = GPT(config)

    def sums():
        with collected() as records:
            hidden = model(ids, training=True)
        return hidden, ops.stack(total(records))

    hidden, expected = (np.asarray(x) for x in backend.jit(sums, model.variables)())
    monkeypatch.setattr(ResidualBlock, "remat", remat)
    monkeypatch.setattr(ResidualBlock, "scan", scan)
    again, found = (np.asarray(x) for x in backend.jit(sums, model.variables)())
    np.testing.assert_allclose(again, hidden, atol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[2] == 4 * 12 and found[3] > 0


def test_keras_own_training_has_the_loss_too():
    model = GPT(GPTConfig(9, 8, 2, 2, num_experts=3, router_loss=1.0))
    model(np.ones((1, 4), "int32"), training=True)
    (loss,) = model.losses
    assert 2.0 - 1e-3 <= float(loss) < 6.0  # k where all experts are alike, E k at most


def test_experts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="num_experts_per_token=4, num_experts=3"):
        MixtureOfExperts(3, 4, 2)
    with pytest.raises(ValueError, match="Received: capacity_factor=0"):
        MixtureOfExperts(3, 2, 2, capacity_factor=0)
