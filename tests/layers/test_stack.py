"""A stack of blocks compiled as one in a loop: the states and gradients of blocks that are called in turn."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign import backend
from tfalign.layers import ResidualBlock, scaled_dot_product
from tfalign.layers.stack import SCANNED_FROM, scans
from tfalign.models import (
    BERT,
    GPT,
    BERTConfig,
    CausalLM,
    GPTConfig,
    Transformer,
    TransformerConfig,
)
from tfalign.models.lora import LoRA, add_adapters, quantize
from tfalign.objectives import LanguageModelling
from tfalign.training.learner import Learner
from tfalign.types import LanguageModelBatch

RNG = np.random.default_rng(0)
IDS = RNG.integers(3, 11, (2, 6)).astype("int32")
MASK = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], "bool")
SEGMENTS = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 2, 2, 3, 3]], "int32")
PLACES = np.array([1, 4, 9], "int32")


def gpt(depth=4, **changes):
    return lambda: GPT(GPTConfig(11, 8, depth, 2, max_positions=8, **changes))


def llama(depth=4, **changes):
    return gpt(
        depth, num_key_value_heads=1, rotary_base=1e4, norm="rms", gated=True, tied=False, **changes
    )


def adapted(dora=False):
    model = gpt()()
    add_adapters(model, LoRA(2, dora=dora))
    return model


def rounded():
    model = gpt()()
    quantize(model, targets=("feed_forward",))
    add_adapters(model, LoRA(2, targets=("block_",)))
    return model


# how a model is made, what it is called with, and how many of its blocks are in the loop, in rounds of how many
CASES = {
    "learned positions": (gpt(), {"padding_mask": MASK}, 4, 1),
    "Llama": (llama(), {"padding_mask": MASK}, 4, 1),
    "segments": (gpt(), {"segment_ids": SEGMENTS}, 4, 1),
    "last": (gpt(), {"last": 2}, 3, 1),
    "places": (llama(), {"segment_ids": SEGMENTS, "places": PLACES}, 3, 1),
    "windows": (gpt(7, attention_window=2), {}, 6, 2),
    "blocks without positions": (llama(6, unrotated_blocks=(2, 5)), {}, 6, 3),
    "BERT": (lambda: BERT(BERTConfig(11, 8, 3, 2, max_positions=8)), {"padding_mask": MASK}, 3, 1),
    "LoRA": (adapted, {}, 4, 1),
    "DoRA": (lambda: adapted(dora=True), {}, 4, 1),
    "8 bits": (rounded, {}, 4, 1),
    "mixed_bfloat16": (
        lambda: GPT(GPTConfig(11, 8, 4, 2, max_positions=8), dtype="mixed_bfloat16"),
        {},
        4,
        1,
    ),
}


@pytest.fixture
def rounds(monkeypatch):
    """Sizes of the loops that were compiled: (rounds, variables in a round)."""
    found = []
    scan = backend.scan

    def noted(body, carried, rows):
        found.append((len(rows), len(rows[0])))
        return scan(body, carried, rows)

    monkeypatch.setattr(backend, "scan", noted)
    return found


def with_random_weights(make):
    model = make()
    for number, variable in enumerate(model.trainable_variables):
        values = np.random.default_rng(number).normal(size=variable.shape)
        variable.assign(0.3 * values.astype("float32"))
    return model


def states_and_gradients(model, call, scan, monkeypatch, compiled=True):
    """A sum that weighs the states, the states, and its gradients for all that is trained."""
    monkeypatch.setattr(ResidualBlock, "scan", scan)

    def loss():
        states = ops.cast(model(**call, training=True), "float32")
        weights = np.random.default_rng(1).normal(size=states.shape).astype("float32")
        return ops.sum(states * weights), states

    def program():
        return backend.value_and_grad(loss, model.trainable_variables)

    run = backend.jit(program, model.variables) if compiled else program
    value, states, gradients = run()
    return float(value), np.asarray(states), [np.asarray(g) for g in gradients]


def assert_same(results, expected, tolerance):
    np.testing.assert_allclose(results[1], expected[1], atol=tolerance * np.abs(expected[1]).max())
    largest = max(np.abs(gradient).max() for gradient in expected[2])
    assert largest > 0
    for gradient, same in zip(results[2], expected[2], strict=True):
        np.testing.assert_allclose(gradient, same, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("remat", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", with_slow(CASES, ["learned positions"]))
def test_states_and_gradients_are_those_of_blocks_in_turn(name, remat, monkeypatch, rounds):
    make, call, scanned, period = CASES[name]
    model, call = with_random_weights(make), {"token_ids": IDS, **call}
    expected = states_and_gradients(model, call, False, monkeypatch, compiled=False)
    monkeypatch.setattr(ResidualBlock, "remat", remat)
    results = states_and_gradients(model, call, True, monkeypatch)
    per_block = len(model.blocks[0].variables)
    assert set(rounds) == {(scanned // period, period * per_block)}
    assert_same(results, expected, 0.03 if name == "mixed_bfloat16" else 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_attention_by_blocks_of_columns_in_a_loop(remat, monkeypatch, rounds):
    """It has a gradient of its own, within the loop's."""
    model, call = with_random_weights(llama()), {"token_ids": IDS}
    expected = states_and_gradients(model, call, False, monkeypatch, compiled=False)
    monkeypatch.setattr(scaled_dot_product, "MATERIALISED", 0)
    monkeypatch.setattr(scaled_dot_product, "TILE", 3)
    monkeypatch.setattr(ResidualBlock, "remat", remat)
    results = states_and_gradients(model, call, True, monkeypatch)
    assert {length for length, _ in rounds} == {4}
    assert_same(results, expected, 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_encoder_and_decoder(remat, monkeypatch, rounds):
    """Gradients flow to the encoder through what all blocks of the decoder look up."""
    model = with_random_weights(lambda: Transformer(TransformerConfig(11, 8, 3, 2)))
    call = {"source_ids": IDS, "target_ids": IDS[:, :4], "source_mask": MASK}
    expected = states_and_gradients(model, call, False, monkeypatch, compiled=False)
    monkeypatch.setattr(ResidualBlock, "remat", remat)
    results = states_and_gradients(model, call, True, monkeypatch)
    assert {length for length, _ in rounds} == {3} and len(set(rounds)) == 2
    assert_same(results, expected, 5e-5)


def test_dropout_is_not_put_in_a_loop(monkeypatch, rounds):
    """Every block would drop the same."""
    monkeypatch.setattr(ResidualBlock, "scan", True)
    model = gpt(dropout=0.5)()
    for training, loops in ((True, []), (False, [4])):
        program = backend.jit(lambda: model(IDS, training=training), model.variables)  # noqa: B023
        program()
        assert sorted({length for length, _ in rounds}) == loops


def test_it_is_chosen_by_depth(monkeypatch, rounds):
    assert ResidualBlock.scan is None
    assert scans(SCANNED_FROM["jax"]) == (keras.backend.backend() == "jax")
    assert not scans(SCANNED_FROM["jax"] - 1)
    monkeypatch.setitem(SCANNED_FROM, keras.backend.backend(), 3)
    for depth in (2, 3):
        model = GPT(GPTConfig(11, 2, depth, 1, max_positions=8))
        backend.jit(lambda: model(IDS), model.variables)()  # noqa: B023
        model(IDS)  # not in a program: one after another
    assert {length for length, _ in rounds} == {3}


@pytest.mark.slow
def test_a_training_is_the_same_and_goes_on_either_way(monkeypatch, tmp_path):
    """Some updates in a loop are those without; a checkpoint does not know which it was."""
    batch = LanguageModelBatch(IDS, MASK, MASK, IDS)
    file = tmp_path / "model.weights.h5"
    losses = []
    for settings in ((False, False), (True, False)):
        model = with_random_weights(lambda: CausalLM(gpt(3)()))
        losses.append([])
        for scan in settings:
            monkeypatch.setattr(ResidualBlock, "scan", scan)
            learner = Learner(model, LanguageModelling(), keras.optimizers.SGD(0.1), accumulate=2)
            losses[-1] += [float(learner.update(batch)["loss"]) for _ in range(3)]
            model.save_weights(file)
            model = CausalLM(gpt(3)())
            model.load_weights(file)
    assert losses[0][0] - losses[0][-1] > 0.1
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
