"""Packed rows hold every response's states once; losses, gradients and updates are those of padded rows."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tests.training import every_objective as every
from tfalign import backend
from tfalign.data import BatchStream, CompletionRecord, encode_completions
from tfalign.data.response_packing import SIZES, packed_rows
from tfalign.decoding import Automaton
from tfalign.models import (
    CausalLM,
    GPTConfig,
    NeuralNGramConfig,
    SeparateActorCritic,
    separate_critic,
)
from tfalign.objectives import LanguageModelling
from tfalign.text import train_byte_bpe
from tfalign.training.learner import Learner
from tfalign.training.packing import check_packs, packed_batch, packed_responses


def texts(random, rows=8, prompt=6, length=7):
    """(token_ids, padding_mask, response_mask) of conversations: others' words, and rows without a response token."""
    prompts = np.arange(prompt) >= random.integers(0, prompt, rows)[:, None]
    written = np.arange(length) < random.integers(0, length + 1, rows)[:, None]
    own = written & (random.random((rows, length)) < 0.7)
    ids = random.integers(1, 10_000, (rows, prompt + length)).astype("int32")
    return ids, np.concatenate([prompts, written], axis=1), own


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_every_token_is_drawn_from_the_text_before_it(parts):
    random, sizes = np.random.default_rng(0), set()
    for _ in range(50):
        ids, real, own = texts(random)
        rows = packed_rows(ids, real, own, parts)
        cut = [np.split(field, parts) for field in (ids, real, own, *rows)]
        for part_ids, part_real, part_own, tokens, segments, places, cells in zip(*cut):
            known = cells < part_own.size
            np.testing.assert_array_equal(cells[known], np.flatnonzero(part_own))
            for place, cell in zip(places[known], cells[known]):
                row, column = divmod(cell, part_own.shape[1])
                before = slice(0, 6 + column)
                expected = part_ids[row, before][part_real[row, before]]
                at, last = divmod(place, tokens.shape[1])
                mine = segments[at] == segments[at, last]
                mine[last + 1 :] = False
                np.testing.assert_array_equal(tokens[at][mine], expected)
            # nothing that no response token is drawn from
            lasts = [np.flatnonzero(row)[-1:] for row in part_own]
            needed = sum(
                part_real[row, : 6 + last[0]].sum() for row, last in enumerate(lasts) if len(last)
            )
            assert np.count_nonzero(segments) == needed
        sizes.add((rows.token_ids.shape, rows.cells.shape))
    assert 1 < len(sizes) <= 2 * SIZES**2
    assert all(shape[0] * shape[1] <= 8 * 12 and room <= 8 * 7 for shape, (room,) in sizes)


def test_rows_as_long_as_they_can_be_take_what_padded_rows_take():
    ids, mask = np.ones((8, 13), "int32"), np.ones((8, 13), "bool")
    rows = packed_rows(ids, mask, mask[:, 6:])
    assert rows.token_ids.shape == (8, 12) and rows.cells.shape == (8 * 7,)


def test_short_responses_share_rows():
    """By hand: 16 texts of 12 states are 192 columns of 16 * 19; five eighths of those, 190, are too few, and rows
    of 19 have room for one text each. Six eighths in rows of 38 have room for 18."""
    ids, mask = np.ones((16, 20), "int32"), np.tile(np.arange(20) < 13, (16, 1))
    rows = packed_rows(ids, mask, mask[:, 10:])
    assert rows.token_ids.shape == (6, 38)
    assert rows.cells.shape == (60,)  # 48 tokens: three eighths of 160


def with_prompts(batch):
    """The batch with prompts of different lengths, and a row whose response does not count."""
    padding_mask, response_mask = np.array(batch.padding_mask), np.array(batch.response_mask)
    padding_mask[:4, :2], padding_mask[4:6, :1], response_mask[1] = False, False, False
    return batch._replace(padding_mask=padding_mask, response_mask=response_mask)


def computed(objective, model, batch):
    """(loss, gradients, metrics), NumPy."""

    def loss():
        total, weight, metrics = objective(model, batch)
        return total / weight, metrics

    value, metrics, gradients = backend.value_and_grad(loss, model.trainable_variables)
    metrics = {name: float(total) for name, (total, _) in metrics.items()}
    return float(value), [ops.convert_to_numpy(x) for x in gradients], metrics


def check_same(objective, model, batch, packed=None, same_rows=True):
    loss, gradients, metrics = computed(objective, model, batch)
    found, others, told = computed(objective, model, packed or packed_batch(batch, 1))
    assert found == pytest.approx(loss, abs=1e-5) and max(abs(x).max() for x in gradients) > 1e-3
    for one, other in zip(gradients, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not same_rows or told == pytest.approx(metrics, abs=1e-4)


@pytest.mark.parametrize("name", with_slow(sorted(every.ON_POLICY), ["ppo", "gspo"]))
def test_losses_and_gradients_are_those_of_padded_rows(name):
    case = every.ON_POLICY[name]
    check_same(
        case.objective, every.new_model(case), with_prompts(case.batch(np.random.default_rng(0)))
    )


@pytest.mark.parametrize("name", with_slow(sorted(every.PREFERENCES), ["dpo", "kto"]))
def test_preference_losses_and_gradients_are_those_of_padded_rows(name):
    case = every.PREFERENCES[name]
    batch, model = case.batch(np.random.default_rng(0)), every.new_model(case)
    real, written = np.array(batch.padding_mask), np.array(batch.response_mask)
    real[:4, :, :2], written[1, 0] = False, False  # shorter prompts; a response without a token
    batch = batch._replace(padding_mask=real, response_mask=written)
    without_dropout = functools.partial(case.objective, training=False)
    check_same(without_dropout, model, batch, packed_responses(batch, 1))
    packed = packed_responses(batch, 4)  # in micro-batches
    assert packed.packed.token_ids.shape[0] % 4 == 0 and packed.packed.segment_ids.max() > 1


def test_fine_tuning_in_packed_rows_has_the_gradients_of_padded_rows():
    """The same eight completions, one a row and several a row; each is predicted from its own prompt alone."""
    random = np.random.default_rng(0)
    records = [
        CompletionRecord("p" * random.integers(1, 6), "xyz"[: random.integers(1, 4)])
        for _ in range(8)
    ]
    examples = encode_completions(records, train_byte_bpe([], 259))
    padded, packed = (
        next(BatchStream(examples, rows, **layout, drop_remainder=False))
        for rows, layout in ((8, {"bucket_lengths": [10]}), (9, {"packed_length": 20}))
    )
    assert len(padded.token_ids) == 8 and len(packed.token_ids) < 6
    config = GPTConfig(259, 8, 2, 2, max_positions=20)
    check_same(LanguageModelling(), CausalLM(config), padded, packed, same_rows=False)


@pytest.mark.parametrize("chunk", [None, 5])
def test_a_constraint_and_a_critic_of_its_own(chunk):
    case = every.ON_POLICY["ppo"]
    random = np.random.default_rng(0)
    policy = every.new_model(every.ON_POLICY["grpo"]).policy
    model = SeparateActorCritic(policy, separate_critic(policy))
    model.critic.head.set_weights([random.normal(size=w.shape) for w in model.critic.head.weights])
    batch, size = with_prompts(case.batch(random)), every.V
    table = np.where(np.arange(size) >= np.arange(size)[:, None], np.arange(size)[None, :], -1)
    constraint = Automaton(table, np.ones(size, "bool"), [size - 1], every.R)
    states = np.minimum(batch.token_ids[:, -every.R :], 3)  # in which some tokens are banned
    objective = case.objective.__class__(constraint=constraint, chunk=chunk, temperature=0.7)
    batch = batch._replace(
        constraint_states=states.astype("int32"),
        token_ids=np.maximum(batch.token_ids, 3).astype("int32"),
    )
    check_same(objective, model, batch)


@pytest.mark.slow
def test_accumulated_packed_updates_are_one_padded_update():
    case = every.ON_POLICY["ppo"]
    batch, weights = with_prompts(case.batch(np.random.default_rng(0))), []
    for accumulate, packed in ((1, False), (4, True)):
        model = every.new_model(case)
        learner = Learner(model, case.objective, keras.optimizers.SGD(0.1), accumulate)
        learner.update(packed_batch(batch, learner.parts) if packed else batch)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_cannot_be_packed_is_told():
    network = CausalLM(NeuralNGramConfig(7, 4, 3, 5))
    with pytest.raises(ValueError, match="need a GPT.* Received: packed=True, .* type NeuralNGram"):
        check_packs(network)
    case = every.COMPARING["online_dpo"]
    with pytest.raises(ValueError, match="whole responses. Received: packed=True.*RankedResponses"):
        packed_batch(case.batch(np.random.default_rng(0)), 1)
