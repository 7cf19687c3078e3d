"""Data larger than memory: the same records, examples and batches as in memory."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from tfalign.data import (
    BatchStream,
    CompletionRecord,
    ConversationRecord,
    DiskRecords,
    PreferenceRecord,
    StepsRecord,
    TaggedRecord,
    TextRecord,
    encode_completions,
    encode_on_disk,
    encode_ranked,
    encode_texts,
    on_disk,
)
from tfalign.text import DetailedMessage, Message, train_byte_bpe
from tfalign.trainers.data import encoded, split_records
from tfalign.trainers.options import DataOptions

BYTES = train_byte_bpe([], 259)
TALK = (Message("user", "新"), DetailedMessage("assistant", "", '{"tool_calls": [1]}'))


@pytest.mark.parametrize(
    "record",
    [
        TextRecord("a\n\u2028b", "f:1", row={"n": 1, "l": [1.5, None]}),
        CompletionRecord(TALK[:1], "x", "f:2", weight=0.5),
        ConversationRecord(TALK, row={"tools": [{"name": "add"}]}),
        PreferenceRecord("p", "a", "b", 0.25, user="mia"),
        StepsRecord("p", ("a", "b"), (True, False)),
        TaggedRecord(("a", "\u00a0"), ("O", "B-x")),
    ],
)
def test_records_come_back_as_they_were(record, tmp_path):
    back = DiskRecords([record], tmp_path)[0]
    assert back == record and back.row == record.row and back.weight == record.weight
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("count", [1, 4, 11, 16])
@pytest.mark.parametrize("encode", [encode_completions, encode_ranked, encode_texts])
def test_examples_are_those_of_memory(count, encode, tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "AT_ONCE", 4)
    kinds = {
        encode_completions: lambda n: CompletionRecord("p" * (n % 3 + 1), "x" * (n % 5 + 1)),
        encode_ranked: lambda n: PreferenceRecord("p" * (n % 3 + 1), "x" * (n % 5 + 1), "y"),
        encode_texts: lambda n: TextRecord("x" * (n % 7 + 1)),
    }
    records = [kinds[encode](n) for n in range(count)]
    ours = encode_on_disk(encode, DiskRecords(records, tmp_path), tokenizer=BYTES)
    theirs = encode(records, BYTES)
    assert tuple(ours.records) == theirs.records
    for one, other in zip(ours.arrays, theirs.arrays):
        np.testing.assert_array_equal(one, other)
    settings = {"packed_length": 8} if encode is encode_texts else {"bucket_lengths": [24]}
    stream, same = (BatchStream(e, 1, seed=3, **settings) for e in (ours, theirs))
    for batch, expected in zip(next(stream), next(same)):
        if batch is not None:
            np.testing.assert_array_equal(batch, expected)
    assert stream.state() == same.state()


def test_a_training_asks_for_it_by_a_folder(tmp_path):
    path = tmp_path / "it.jsonl"
    path.write_text(
        "".join(f'{{"prompt": "p{n}", "completion": "{n}"}}\n' for n in range(40)) + "3\n"
    )
    options = DataOptions(test_fraction=0.3, on_bad="skip")
    disk = dataclasses.replace(options, disk_dir=str(tmp_path / "disk"))
    for given in (
        str(path),
        f"chat:{path}",
        [{"prompt": f"p{n}", "completion": "c"} for n in range(9)],
    ):
        ours, theirs = (split_records(given, CompletionRecord, one) for one in (disk, options))
        assert [list(part) for part in ours] == [list(part) for part in theirs]
        assert all(isinstance(part, DiskRecords) for part in ours)
    train, _ = split_records(str(path), CompletionRecord, disk)
    assert len(train.bad) == 1
    examples = encoded(
        "it", encode_completions, train, tokenizer=BYTES, max_tokens=5, on_bad="skip"
    )
    assert isinstance(examples.tokens.tokens, np.memmap) and len(examples) < len(train)
    assert all(len(record.completion) == 1 for record in examples.records)
