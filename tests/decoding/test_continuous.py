"""Continuous batching: the plain loop's responses, without its idle rows."""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from tests.decoding.conftest import GPT2, LLAMA, V
from tests.sampling import with_slow
from tfalign.decoding import Automaton, ContinuousGenerator, Generator, Greedy, Sampler, continuous
from tfalign.decoding.generate import start
from tfalign.models import CausalLM, GPTConfig, ValueHead
from tfalign.models.neural_ngram import NeuralNGramConfig
from tfalign.models.recurrent import RecurrentConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
P, R, N, SEED = 6, 8, 11, 4
STOPS, PAD = (3, 5, 8, 13, 21), 1
CONFIGS = {
    "gpt2": GPT2,
    "llama": LLAMA.replace(attention_window=4),
    "gru": RecurrentConfig(V, 16, 1, cell="gru"),
    "lstm": RecurrentConfig(V, 16, 2, cell="lstm"),
    "ngram": NeuralNGramConfig(V, 4, 8, 12),
}


def model_of(name):
    model, random = CausalLM(CONFIGS[name]), np.random.default_rng(1)
    for weight in model.weights:
        vector = len(weight.shape) == 1
        noise = random.normal(size=weight.shape)
        weight.assign(weight + 0.1 * noise if vector else 0.4 * noise)
    return model


@pytest.fixture(scope="module")
def gpt2():
    return model_of("gpt2")


@pytest.fixture(scope="module")
def value_head():
    head = ValueHead()
    head.build((None, None, 16))
    head.dense.kernel.assign(np.random.default_rng(0).normal(size=head.dense.kernel.shape))
    return head


def prompts_of(left, groups=(1,) * N, seed=0):
    """(token_ids, mask): ragged prompts, each in as many consecutive rows as its group; noise at padding."""
    random = np.random.default_rng(seed)
    lengths = np.repeat(random.integers(1, P + 1, len(groups)), groups)[:, None]
    token_ids = np.repeat(random.integers(0, V, (len(groups), P)), groups, axis=0)
    mask = np.arange(P) >= P - lengths if left else np.arange(P) < lengths
    noise = random.integers(0, V, token_ids.shape)
    return np.where(mask, token_ids, noise).astype("int32"), mask


def check_same(found, plain):
    np.testing.assert_array_equal(found.tokens, plain.tokens)
    np.testing.assert_array_equal(found.mask, plain.mask)
    for name in ("log_probs", "values", "constraint_states"):
        one, other = getattr(found, name), getattr(plain, name)
        assert (one is None) == (other is None)
        if one is not None:
            mask = np.asarray(plain.mask)  # a constraint's states mean nothing after the end
            np.testing.assert_allclose(np.asarray(one)[mask], np.asarray(other)[mask], atol=1e-5)
    for name in ("log_probs", "values"):
        if getattr(found, name) is not None:
            assert (np.asarray(getattr(found, name))[~np.asarray(found.mask)] == 0).all()


@pytest.fixture(scope="module")
def plain(gpt2):
    return Generator(gpt2, R, Sampler(0.7), STOPS, PAD)


@pytest.mark.parametrize("slots", with_slow([1, 2, 3, 5, N, 2 * N], [3]))
def test_it_is_the_plain_loop_whatever_slots_padding_and_order(gpt2, plain, slots):
    token_ids, mask = prompts_of(left=True)
    expected = plain(token_ids, mask, SEED)
    lengths = np.sum(expected.mask, axis=1)
    assert lengths.min() < 4 and lengths.max() == R, "the seed no longer shows both endings"
    respond = ContinuousGenerator(gpt2, R, slots, Sampler(0.7), STOPS, PAD)
    check_same(respond(token_ids, mask, SEED), expected)
    again = prompts_of(left=False, seed=1)  # other lengths, padded on the other side
    check_same(respond(*again, seed=5), plain(*again, seed=5))
    order = np.random.default_rng(0).permutation(N)
    check_same(
        respond(token_ids[order], mask[order], SEED, order),
        type(expected)(*(None if x is None else np.asarray(x)[order] for x in expected)),
    )
    assert respond.compiled.traces == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", with_slow(["llama", "gru", "lstm", "ngram"], ["llama"]))
def test_every_kind_of_model(name):
    model, (token_ids, mask) = model_of(name), prompts_of(left=True, groups=(2, 1, 3, 1))
    expected = Generator(model, R, Sampler(), STOPS)(token_ids, mask, SEED)
    assert np.unique(np.sum(expected.mask, axis=1)).size > 2
    check_same(ContinuousGenerator(model, R, 2, Sampler(), STOPS)(token_ids, mask, SEED), expected)


@pytest.mark.slow
def test_a_constraint_and_values_and_streams(gpt2, value_head):
    token_ids, mask = prompts_of(left=False)
    row_ids = np.random.default_rng(2).permutation(100)[:N]
    rising = np.where(np.arange(V) >= np.arange(V)[:, None], np.arange(V)[None, :], -1)
    constraint = Automaton(rising, np.ones(V, "bool"), [STOPS[0]], R)
    how = Sampler(2.0), STOPS[:1], PAD, value_head, constraint
    expected = Generator(gpt2, R, *how)(token_ids, mask, SEED, row_ids)
    assert np.unique(np.sum(expected.mask, axis=1)).size > 2
    found = ContinuousGenerator(gpt2, R, 3, *how)(token_ids, mask, SEED, row_ids)
    check_same(found, expected)
    assert np.abs(np.asarray(found.values)).max() > 0.1


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX runs no loop uncompiled")
def test_a_group_reads_its_prompt_once(gpt2, plain, monkeypatch):
    """Counted where it cannot lie, by a loop without the compiler that reads one prompt at a time."""
    token_ids, mask = prompts_of(left=True, groups=(3, 1, 4, 3))
    token_ids = np.where(mask, token_ids, 0)
    was_read = []

    def reading(model, prompts, *how):
        was_read.append(np.asarray(prompts)[0].tolist())
        return start(model, prompts, *how)

    monkeypatch.setattr(continuous, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(continuous, "start", reading)
    respond = ContinuousGenerator(gpt2, R, 2, Sampler(0.7), STOPS, PAD)
    given = (token_ids, mask, np.uint32(SEED), np.arange(N, dtype="int32"))
    found, _ = respond.run(*map(ops.convert_to_tensor, given))
    check_same(found, plain(token_ids, mask, SEED))
    assert was_read == token_ids[[0, 3, 4, 8]].tolist()


class Lengths:
    """A constraint under which a response has as many tokens as the last token of its prompt says."""

    def start(self, prompts):
        return prompts.token_ids[:, -1] - 1

    def allowed(self, states):
        return (states == 0)[:, None] == (ops.arange(64) == 0)

    def follow(self, states, tokens):
        return ops.maximum(states - 1, 0)


@pytest.fixture(scope="module")
def small():
    return CausalLM(GPTConfig(64, 8, 1, 2, max_positions=40))


@pytest.fixture(scope="module")
def of_lengths(small):
    """Function of a number of slots: a loop whose responses have the lengths of their prompts' last tokens."""

    @functools.cache
    def of_slots(slots):
        return ContinuousGenerator(small, 32, slots, stop_tokens=(0,), constraint=Lengths())

    return of_slots


def steps_of(respond, lengths):
    generation, row_steps = respond.counted(np.reshape(lengths, (-1, 1)))
    np.testing.assert_array_equal(np.sum(generation.mask, axis=1), lengths)
    return row_steps


@pytest.mark.slow
def test_few_rows_run_for_nothing(of_lengths):
    """Geometric lengths, in mean a quarter of the limit: where the plain loop uses three rows in ten."""
    for seed in range(3):
        lengths = np.minimum(np.random.default_rng(seed).geometric(1 / 8, 64), 32)
        assert lengths.sum() < 0.35 * 64 * lengths.max()
        assert lengths.sum() >= 0.85 * steps_of(of_lengths(8), lengths)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slots", "lengths", "row_steps"),
    [
        (2, [4, 4, 4, 4, 4, 4], 24),
        (2, [1, 1, 1, 1, 1, 1], 6),  # all stop at once
        (2, [5, 1, 1, 1, 1, 1], 10),  # one goes on, five pass by
        (2, [1, 1, 1, 1, 2, 8], 4 + 2 * 2 + 6),  # the loop narrows to one slot
        (2, [32, 32, 32, 32, 32, 32], 192),
        (4, [1, 1, 1, 2, 3, 9], 4 * 3 + 6),
        (4, [9, 1, 1, 1, 1, 4], 4 * 2 + 2 * 3 + 4),
        pytest.param(9, [3, 4, 1, 2, 5, 9], 6 * 3 + 3 * 2 + 4, marks=pytest.mark.slow),
        pytest.param(1, [3, 1, 2], 6, marks=pytest.mark.slow),
    ],
)
def test_rows_that_are_run_counted_by_hand(of_lengths, slots, lengths, row_steps):
    assert steps_of(of_lengths(slots), lengths) == row_steps


@pytest.mark.slow
def test_one_new_token_of_one_token_suffices(small):
    token_ids = np.array([[4], [6], [2]])
    expected = Generator(small, 1, Greedy())(token_ids)
    check_same(ContinuousGenerator(small, 1, 2, Greedy())(token_ids), expected)


def test_a_dead_end_is_told(small):
    class Nowhere(Lengths):
        def allowed(self, states):
            return ops.zeros((states.shape[0], 64), "bool")

    respond = ContinuousGenerator(small, 2, 1, stop_tokens=(0,), constraint=Nowhere())
    with pytest.raises(ValueError, match="allows no token in state 2, before token 0 .* prompt 0"):
        respond([[3], [4]])


@pytest.mark.parametrize("slots", [0, -2, 1.5])
def test_slots_are_a_positive_number(gpt2, slots):
    with pytest.raises(ValueError, match=f"slots must be .* Received: slots={slots}"):
        ContinuousGenerator(gpt2, R, slots)


def test_a_model_with_a_loop_of_its_own_is_refused():
    class Own:
        variables = []

        def decode(self):
            """Nothing."""

    with pytest.raises(ValueError, match="Received: a model of type Own"):
        ContinuousGenerator(Own(), R, 2)


REPLICAS = """
import numpy as np, tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfalign.decoding import ContinuousGenerator, Generator
from tfalign.models import CausalLM, GPTConfig
ids = np.random.default_rng(0).integers(0, 23, (8, 5))
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = CausalLM(GPTConfig(23, 16, 1, 2, max_positions=24, initializer_range=0.4))
    respond = ContinuousGenerator(model, 8, 2, stop_tokens=(3, 5, 8, 13))
    found, row_steps = respond.counted(ids, seed=1)
    expected = Generator(model, 8, stop_tokens=(3, 5, 8, 13))(ids, seed=1)
np.testing.assert_array_equal(found.tokens, expected.tokens)
np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-5)
assert np.sum(expected.mask) <= row_steps < 8 * 8
"""


@pytest.mark.slow
def test_replicas_have_slots_of_their_own():
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", REPLICAS], env=environment, check=True)
