"""Several sources with weights: what is in an epoch, packed or not, and how a training names them."""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest

from tfalign.data import BatchStream, CompletionRecord, TextRecord, encode_texts, mixed, mixture_of
from tfalign.data.mixed import epoch_indices
from tfalign.text import train_byte_bpe
from tfalign.trainers.base import name_of_data
from tfalign.trainers.data import split_records
from tfalign.trainers.options import DataOptions

BYTES = train_byte_bpe([], 259)
MANY, FEW = (
    [TextRecord(f"{name}{n:02d}") for n in range(count)] for name, count in (("m", 60), ("f", 20))
)


def test_every_example_is_in_epochs_as_often_as_its_weight_says():
    weights = np.array([0.3, 1.0, 2.7, 0.01])
    counts = np.zeros(4)
    for epoch in range(300):
        chosen = np.bincount(epoch_indices(weights, epoch), minlength=4)
        counts += chosen
        assert np.all(np.abs(chosen - weights) < 1)
        assert np.all(np.abs(counts - weights * (epoch + 1)) < 1)


@pytest.mark.parametrize("layout", [{"bucket_lengths": [8]}, {"packed_length": 16}])
@pytest.mark.parametrize("seed", [None, 0])
def test_an_epoch_has_of_each_source_what_its_weight_says(layout, seed):
    """20 of 80 become 60 of 80: each of the few stands three times in an epoch, of the many another third each time."""
    examples = encode_texts(mixed([MANY, FEW], [1, 3]), BYTES)
    stream = BatchStream(examples, 4, seed=seed, epochs=3, drop_remainder=False, **layout)
    seen = collections.Counter()
    for batch in stream:
        text = BYTES.decode(batch.token_ids[np.asarray(batch.padding_mask)].tolist())
        seen.update(text[at : at + 3] for at in range(0, len(text), 3))
    assert [seen[record.text] for record in MANY] == [1] * 60
    assert [seen[record.text] for record in FEW] == [9] * 20


def test_a_stream_of_weighted_examples_goes_on_where_it_was():
    examples = encode_texts(mixed([MANY, FEW], [1, 3]), BYTES)
    stream = BatchStream(examples, 7, [8], seed=1)
    for _ in range(25):
        next(stream)
    again = BatchStream(examples, 7, [8], seed=1)
    again.restore(stream.state())
    np.testing.assert_array_equal(next(stream).token_ids, next(again).token_ids)
    other = BatchStream(encode_texts(mixed([MANY, FEW], [1, 1]), BYTES), 7, [8], seed=1)
    with pytest.raises(ValueError, match="not those of the stream"):
        other.restore(stream.state())


def test_trainings_take_sources_with_weights(tmp_path):
    paths = []
    for name, count in (("a", 40), ("b", 10)):
        rows = [{"prompt": f"{name}{n}", "completion": "x"} for n in range(count)]
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = f"1*{paths[0]},4.5*{paths[1]}"
    train, test = split_records(given, CompletionRecord, DataOptions(test_fraction=0.3))
    by_source = collections.Counter()
    for record in train:
        by_source[record.prompt[0]] += record.weight
    assert by_source["b"] / by_source["a"] == pytest.approx(4.5)
    assert sum(by_source.values()) == pytest.approx(len(train))
    assert {record.prompt[0] for record in test} == {"a", "b"}
    assert {record.weight for record in test} == {1}
    in_python = dict(zip(map(str, paths), (1, 4.5)))
    assert split_records(in_python, CompletionRecord, DataOptions(test_fraction=0.3))[0] == train
    assert name_of_data(in_python) == given


def test_mistakes_are_told():
    for source in ("2*a.jsonl,b.jsonl", "2*a.jsonl,1*a.jsonl"):
        with pytest.raises(ValueError, match="Several sources each have a weight and stand once"):
            mixture_of(source)
    for weights in ([-1, 1], [0, 0], [float("nan"), 1]):
        with pytest.raises(ValueError, match="Weights of sources must be at least 0"):
            mixed([MANY, FEW], weights)
    with pytest.raises(ValueError, match="A running text takes records of one source"):
        BatchStream(encode_texts(mixed([MANY, FEW], [1, 3]), BYTES), 2, window_length=8)
    with pytest.raises(
        ValueError, match='with "train" and perhaps .* Received: dict with validation'
    ):
        split_records({"validation": MANY}, TextRecord, DataOptions())
