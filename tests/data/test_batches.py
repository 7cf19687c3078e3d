"""Streams: every example where it belongs, static shapes, the same again from a seed or a state."""

from __future__ import annotations

import collections
import json
import subprocess
import sys

import numpy as np
import pytest

from tfalign.data import (
    BatchStream,
    CompletionRecord,
    PreferenceRecord,
    PromptRecord,
    TextRecord,
    count_tokens,
    encode_completions,
    encode_preferences,
    encode_prompts,
    encode_texts,
    next_token_targets,
    one_text,
)
from tfalign.data.layouts import best_fit
from tfalign.text import train_byte_bpe
from tfalign.types import LanguageModelBatch

BYTES = train_byte_bpe([], 259)


def text_of(number, length):
    """A text that no other number has, of ``length`` bytes."""
    return (f"{number}:" + "abcdefghij" * 20)[:length]


def texts(count, longest=40):
    lengths = 6 + (np.arange(count) * 7919) % (longest - 5)
    records = [TextRecord(text_of(1000 + n, int(length))) for n, length in enumerate(lengths)]
    return encode_texts(records, BYTES)


def completions(count):
    records = [CompletionRecord(f"{1000 + n}?", "!" * (1 + n * 31 % 17)) for n in range(count)]
    return encode_completions(records, BYTES)


def preferences(count):
    records = [
        PreferenceRecord(f"{1000 + n}?", "a" * (1 + n % 9), "b" * (1 + n % 4), margin=n)
        for n in range(count)
    ]
    return encode_preferences(records, BYTES)


def prompts(count):
    return encode_prompts([PromptRecord("x" * (1 + n % 12)) for n in range(count)], BYTES)


def equal(first, second):
    return type(first) is type(second) and all(map(np.array_equal, first, second))


def documents(batch):
    """Token lists of the segments of a batch, row by row."""
    for row_ids, row_segments in zip(batch.token_ids, batch.segment_ids):
        for segment in range(1, row_segments.max(initial=0) + 1):
            yield row_ids[row_segments == segment].tolist()


BUCKETS = {"bucket_lengths": (16, 32, 48)}
PACKED = {"packed_length": 48}
WINDOWS = {"window_length": 33}


@pytest.mark.parametrize("layout", [BUCKETS, PACKED], ids=["buckets", "packed"])
def test_an_epoch_without_a_remainder_to_drop_holds_every_text_once(layout):
    examples = texts(101)
    stream = BatchStream(examples, 8, seed=3, epochs=1, drop_remainder=False, **layout)
    seen = [tuple(tokens) for batch in stream for tokens in documents(batch)]
    assert sorted(seen) == sorted(tuple(examples.tokens[i].tolist()) for i in range(101))


def test_dropping_leaves_out_less_than_a_batch_and_others_each_time():
    stream = BatchStream(texts(101), 8, seed=3, epochs=40, **BUCKETS)
    left_out = set(range(101))
    for _ in range(40):
        used = np.concatenate([(next(stream), stream.indices)[1] for _ in range(12)])
        assert len(np.unique(used)) == 96
        missing = set(range(101)) - set(used.tolist())
        left_out &= missing
    assert not left_out
    assert next(stream, None) is None


def test_buckets_are_the_only_shapes_and_full():
    examples = texts(101)
    stream = BatchStream(examples, 8, seed=3, epochs=1, **BUCKETS)
    for batch in stream:
        rows, columns = batch.token_ids.shape
        assert rows == 8
        longest = examples.lengths[stream.indices].max()
        assert columns == min(length for length in (16, 32, 48) if length >= longest)


def test_a_bucket_short_of_a_batch_takes_in_shorter_examples():
    examples = encode_prompts([PromptRecord("x" * n) for n in (3, 3, 9, 3, 3, 20, 3)], BYTES)
    stream = BatchStream(examples, 2, bucket_lengths=(4, 10, 21), drop_remainder=False)
    seen = [(next(stream).token_ids.shape, stream.indices.tolist()) for _ in range(4)]
    assert seen == [((2, 21), [5, 2]), ((2, 4), [0, 1]), ((2, 4), [3, 4]), ((1, 4), [6])]


def test_order_of_batches_is_shuffled_between_buckets():
    stream = BatchStream(texts(400), 8, seed=0, epochs=1, **BUCKETS)
    widths = [batch.token_ids.shape[1] for batch in stream]
    assert widths != sorted(widths) and widths != sorted(widths, reverse=True)


@pytest.mark.parametrize("make", [completions, preferences, prompts, texts])
def test_rows_are_those_of_the_examples(make):
    examples = make(30)
    stream = BatchStream(examples, 4, bucket_lengths=(24, 48), seed=9)
    for _ in range(10):
        batch = next(stream)
        assert equal(batch, examples.batch(stream.indices, batch[0].shape[1]))


@pytest.mark.parametrize(
    ("make", "layout"),
    [
        (completions, {"bucket_lengths": (24,)}),
        (preferences, {"bucket_lengths": (8, 24)}),
        (preferences, {"bucket_lengths": (24,)}),
        (prompts, {"bucket_lengths": (8, 24)}),
        (texts, PACKED),
    ],
)
def test_tokens_are_counted(make, layout):
    stream = BatchStream(make(50), 4, seed=1, **layout)
    for _ in range(9):
        batch = next(stream)
        assert stream.num_tokens == count_tokens(batch)


def test_tokens_of_a_batch_by_hand():
    stream = BatchStream(preferences(4), 4, bucket_lengths=(24,))
    next(stream)
    shared = 1 + 5 + 1  # BOS, "1000?", EOS
    assert stream.num_tokens == 8 * shared + (1 + 2 + 3 + 4) * 2


# --- packing ---------------------------------------------------------------------------------


def test_packing_cuts_long_texts_and_loses_no_token():
    examples = texts(60, longest=130)
    stream = BatchStream(examples, 4, packed_length=32, seed=5, epochs=1, drop_remainder=False)
    pieces = [tuple(tokens) for batch in stream for tokens in documents(batch)]
    expected = [
        tuple(examples.tokens[i][start : start + 32].tolist())
        for i in range(60)
        for start in range(0, examples.lengths[i], 32)
    ]
    assert sorted(pieces) == sorted(expected)
    assert sum(map(len, pieces)) == examples.lengths.sum()


def test_packed_targets_are_all_tokens_that_have_one_before_them():
    stream = BatchStream(texts(60, longest=130), 4, packed_length=32, seed=5)
    for _ in range(8):
        batch = next(stream)
        assert np.array_equal(batch.padding_mask, batch.segment_ids > 0)
        first = np.ones_like(batch.segment_ids, bool)
        first[:, 1:] = batch.segment_ids[:, 1:] != batch.segment_ids[:, :-1]
        assert np.array_equal(batch.loss_mask, batch.padding_mask & ~first)


def test_packed_completions_keep_their_targets():
    examples = completions(60)
    stream = BatchStream(examples, 4, packed_length=40, seed=5, epochs=1, drop_remainder=False)
    packed = collections.Counter()
    for batch in stream:
        for row in range(len(batch.token_ids)):
            for segment in range(1, batch.segment_ids[row].max() + 1):
                here = batch.segment_ids[row] == segment
                packed[tuple(batch.token_ids[row, here] * 2 + batch.loss_mask[row, here])] += 1
    plain = collections.Counter()
    batch = examples.batch(np.arange(60), 40)
    for ids, targets, mask in zip(batch.token_ids, batch.loss_mask, batch.padding_mask):
        plain[tuple(ids[mask] * 2 + targets[mask])] += 1
    assert packed == plain


def test_a_prompt_longer_than_a_row_is_no_target():
    examples = encode_completions([CompletionRecord("p" * 12, "ab")], BYTES)
    batch = next(BatchStream(examples, 2, packed_length=8))
    # BOS and 7 of the prompt; then 5 of the prompt, the completion and EOS.
    assert batch.loss_mask.tolist() == [[False] * 8, [False] * 5 + [True] * 3]


def test_segments_lie_side_by_side_from_the_left():
    for batch in BatchStream(texts(80), 8, seed=2, epochs=1, **PACKED):
        for segments in batch.segment_ids:
            real = segments[segments > 0]
            assert np.array_equal(segments[: len(real)], real)
            assert set(np.diff(real)) <= {0, 1} and real[0] == 1


def test_packing_fills_the_rows():
    stream = BatchStream(texts(500), 8, seed=2, **PACKED)
    filled = [(next(stream), stream.num_tokens)[1] / (8 * 48) for _ in range(stream.num_batches)]
    assert np.mean(filled) > 0.93  # one text a row fills half


def testbest_fit_equals_a_plain_search():
    lengths = np.random.default_rng(0).integers(1, 21, size=300)
    rows, columns, segments, count = best_fit(lengths, 20)
    free, filled = [], []
    for index, length in enumerate(lengths):
        rooms = [room for room in free if room >= length]
        room = min(rooms, default=20)
        row = rows[index]
        if row == len(free):
            assert not rooms
            free.append(20)
            filled.append(0)
        assert free[row] == room
        filled[row] += 1
        assert (columns[index], segments[index]) == (20 - room, filled[row])
        free[row] -= length
    assert count == len(free)


def test_packed_texts_do_not_see_one_another():
    """A real GPT gives a text in a shared row the logits it gives the text alone."""
    from tfalign.models import CausalLM, GPTConfig

    examples = texts(12)
    model = CausalLM(GPTConfig(vocab_size=259, width=16, num_layers=1, num_heads=2))
    batch = next(BatchStream(examples, 2, seed=0, **PACKED))
    packed = np.asarray(model(batch.token_ids, segment_ids=batch.segment_ids))
    plain = examples.batch(np.arange(12), 48)
    alone = np.asarray(model(plain.token_ids, padding_mask=plain.padding_mask))
    of_text = {tuple(ids[mask]): row for row, (ids, mask) in enumerate(zip(*plain[:2]))}
    assert batch.segment_ids.max() > 1
    for row in range(2):
        for segment in range(1, batch.segment_ids[row].max() + 1):
            here = batch.segment_ids[row] == segment
            expected = alone[of_text[tuple(batch.token_ids[row, here])], : here.sum()]
            np.testing.assert_allclose(packed[row, here], expected, atol=2e-5)


def test_windows_predict_every_token_of_a_running_text_once_but_at_its_ends():
    stream = BatchStream(one_text(np.arange(1000)), 4, window_length=33, seed=5)
    firsts = []
    for _ in range(3):
        batches = [next(stream) for _ in range(stream.num_batches)]
        rows = np.concatenate([batch.token_ids for batch in batches])
        assert (np.diff(rows, axis=1) == 1).all()
        targets = rows[:, 1:].ravel()
        assert len(set(targets)) == len(targets) > 1000 - 33 - 4 * 32
        assert all((batch.loss_mask == (np.arange(33) > 0)).all() for batch in batches)
        assert all(batch.padding_mask.all() and (batch.segment_ids == 1).all() for batch in batches)
        firsts.append(rows[:, 0].min() % 32)
    assert len(set(firsts)) > 1  # cut at other places
    assert stream.num_tokens == 4 * 33 and stream.indices.tolist() == [0]


def test_windows_reach_over_texts_and_know_whose_they_are():
    examples = encode_texts([TextRecord("abcd"), TextRecord("efgh")], BYTES)
    stream = BatchStream(examples, 1, window_length=8, epochs=1)
    batch = next(stream)
    assert batch.token_ids[0].tolist() == examples.tokens.tokens[:8].tolist()
    assert stream.indices.tolist() == [0, 1]
    assert next(stream, None) is None  # the rest fills no row


# --- the same again --------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [BUCKETS, PACKED, WINDOWS], ids=["buckets", "packed", "windows"])
@pytest.mark.parametrize("taken", [0, 1, 7, 12, 25])
def test_a_restored_stream_goes_on_identically(layout, taken):
    stream = BatchStream(texts(101), 8, seed=3, **layout)
    for _ in range(taken):
        next(stream)
    state = json.loads(json.dumps(stream.state()))
    expected = [next(stream) for _ in range(30)]  # into further epochs
    other = BatchStream(texts(101), 8, seed=3, **layout)
    next(other)
    other.restore(state)
    assert other.state() == state
    assert all(equal(next(other), batch) for batch in expected)


def test_a_state_at_the_end_of_the_last_epoch_is_the_end():
    stream = BatchStream(texts(20), 8, seed=3, epochs=2, **BUCKETS)
    assert len(list(stream)) == 2 * stream.num_batches == 4
    other = BatchStream(texts(20), 8, seed=3, epochs=2, **BUCKETS)
    other.restore(stream.state())
    assert next(other, None) is None
    assert list(BatchStream(texts(20), 8, epochs=0, **BUCKETS)) == []


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"batch_size": 4}, {"bucket_lengths": (48,)}, {"examples": texts(100)}],
    ids=["seed", "batch_size", "bucket_lengths", "examples"],
)
def test_a_state_of_another_stream_is_refused(change):
    settings = {"examples": texts(101), "batch_size": 8, "seed": 3, **BUCKETS}
    state = BatchStream(**settings).state()
    with pytest.raises(ValueError, match="not those of the stream .* Received: fingerprint="):
        BatchStream(**(settings | change)).restore(state)


def test_seeds_and_epochs_differ():
    def orders(seed):
        stream = BatchStream(texts(96), 8, seed=seed, bucket_lengths=(48,))
        return [
            np.concatenate([(next(stream), stream.indices)[1] for _ in range(12)]).tolist()
            for _ in range(2)
        ]

    (first, second), (other, _) = orders(3), orders(4)
    assert sorted(first) == sorted(second) == sorted(other) == list(range(96))
    assert first != second and first != other and first != list(range(96))
    assert orders(3) == [first, second]
    assert orders(None) == [list(range(96))] * 2


def test_the_shuffle_is_the_same_in_every_process_and_version():
    program = (
        "from tfalign.data.layouts import shuffler\n"
        "shuffle = shuffler(2**64 - 1, 5)\n"
        "print(*shuffle(8), *shuffle(4))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.strip() == "0 2 1 5 7 6 4 3 1 2 3 0", ran.stderr


# --- tf.data ---------------------------------------------------------------------------------


@pytest.mark.tensorflow
def test_tf_dataset_holds_the_same_batches_epoch_by_epoch():
    stream = BatchStream(texts(101), 8, seed=3, **PACKED)
    next(stream)
    state = stream.state()
    dataset = stream.as_tf_dataset()
    spec = dataset.element_spec
    assert isinstance(spec, LanguageModelBatch)
    assert spec.token_ids.shape == (8, 48) and spec.token_ids.dtype == "int32"
    passes = [list(dataset.as_numpy_iterator()) for _ in range(3)]
    assert stream.state() == state
    for batches in passes:
        for batch in batches:
            assert equal(LanguageModelBatch(*batch), next(stream))
        assert stream.state()["batch"] == stream.num_batches


@pytest.mark.tensorflow
def test_tf_dataset_shapes_are_as_static_as_the_batches():
    def shape(**layout):
        stream = BatchStream(preferences(50), 8, **layout)
        return tuple(stream.as_tf_dataset().element_spec.chosen_ids.shape)

    assert shape(bucket_lengths=(24,)) == (8, 24)
    assert shape(bucket_lengths=(10, 24)) == (8, None)
    assert shape(bucket_lengths=(24,), drop_remainder=False) == (None, 24)
    margin = BatchStream(preferences(50), 8, bucket_lengths=(10, 24)).as_tf_dataset()
    assert margin.element_spec.margin.shape == (8,)


@pytest.mark.tensorflow
def test_tf_dataset_in_buckets_knows_its_length():
    stream = BatchStream(texts(101), 8, seed=3, **BUCKETS)
    for _ in range(12):
        dataset = stream.as_tf_dataset()
        assert dataset.cardinality() == (12 if stream.state()["batch"] == 0 else -2)
        next(stream)
    dataset = stream.as_tf_dataset()  # stands at the end of an epoch: passes begin with the next
    assert dataset.cardinality() == 12
    assert [equal(LanguageModelBatch(*b), next(stream)) for b in dataset.as_numpy_iterator()] == (
        [True] * 12
    )


def test_next_token_targets_by_hand():
    batch = LanguageModelBatch(
        token_ids=np.array([[1, 7, 8, 2, 1, 9, 2, 0]], np.int32),
        padding_mask=np.array([[1, 1, 1, 1, 1, 1, 1, 0]], bool),
        loss_mask=np.array([[0, 0, 1, 1, 0, 1, 1, 0]], bool),
        segment_ids=np.array([[1, 1, 1, 1, 2, 2, 2, 0]], np.int32),
    )
    inputs, targets, weights = next_token_targets(batch)
    assert set(inputs) == {"token_ids", "padding_mask", "segment_ids"}
    assert targets.tolist() == [[7, 8, 2, 1, 9, 2, 0, 0]]
    assert weights.tolist() == [[0, 1, 1, 0, 1, 1, 0, 0]]


@pytest.mark.tensorflow
def test_a_keras_model_fits_on_the_dataset():
    import keras

    token_ids = keras.Input((48,), dtype="int32", name="token_ids")
    segment_ids = keras.Input((48,), dtype="int32", name="segment_ids")
    embedded = keras.layers.Embedding(259, 8)(token_ids)
    real = keras.ops.cast(segment_ids > 0, "float32")[..., None]
    model = keras.Model([token_ids, segment_ids], keras.layers.Dense(259)(embedded * real))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss)
    stream = BatchStream(texts(101), 8, seed=3, **PACKED)
    history = model.fit(stream.as_tf_dataset(next_token_targets), epochs=4, verbose=0)
    losses = history.history["loss"]
    assert len(losses) == 4
    assert losses[-1] < 0.7 * losses[0]


# --- what cannot be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (texts, {"batch_size": 0, **BUCKETS}, "Received: batch_size=0"),
        (texts, {"batch_size": 8}, "Exactly one of .* bucket_lengths=None, packed_length=None"),
        (texts, {"batch_size": 8, **PACKED, **WINDOWS}, "packed_length=48, window_length=33"),
        (texts, {"batch_size": 8, "window_length": 1}, "at least 2. Received: window_length=1"),
        (prompts, {"batch_size": 8, **WINDOWS}, "cut into rows. Received: PromptExamples"),
        (texts, {"batch_size": 8, **BUCKETS, **PACKED}, "Exactly one of"),
        (texts, {"batch_size": 8, "bucket_lengths": ()}, "bucket_lengths must be positive"),
        (texts, {"batch_size": 8, "bucket_lengths": (0, 64)}, "bucket_lengths must be positive"),
        (texts, {"batch_size": 8, "bucket_lengths": (8, 16)}, "tokens, more than every bucket"),
        (texts, {"batch_size": 8, "packed_length": 1}, "at least 2. Received: packed_length=1"),
        (prompts, {"batch_size": 8, **PACKED}, "cut into rows. Received: PromptExamples"),
        (prompts, {"batch_size": 8, "bucket_lengths": (24,), "seed": -1}, "Received: seed=-1"),
        (texts, {"batch_size": float("nan"), **BUCKETS}, "Received: batch_size=nan"),
        (texts, {"batch_size": 8.0, **BUCKETS}, "Received: batch_size=8.0"),
        (texts, {"batch_size": True, **BUCKETS}, "Received: batch_size=True"),
        (texts, {"batch_size": 8, "bucket_lengths": (16.7,)}, "bucket_lengths=16.7"),
        (texts, {"batch_size": 8, "bucket_lengths": (float("inf"),)}, "bucket_lengths=inf"),
        (texts, {"batch_size": 8, "packed_length": float("nan")}, "packed_length=nan"),
        (texts, {"batch_size": 8, "window_length": "32"}, "window_length='32'"),
        (texts, {"batch_size": 8, **BUCKETS, "epochs": -1}, "epochs=-1"),
        (texts, {"batch_size": 8, **BUCKETS, "seed": 0.5}, "seed=0.5"),
        (prompts, {"batch_size": 31, "bucket_lengths": (24,)}, "30 examples do not fill a batch"),
    ],
)
def test_settings_that_cannot_be(make, settings, message):
    with pytest.raises(ValueError, match=message):
        BatchStream(make(30), **settings)
