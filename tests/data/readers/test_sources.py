"""Places that are no files, and what a source states."""

from __future__ import annotations

import json
import os

import pytest

from tests.data.readers.reading import write
from tfalign.data import (
    BadFileError,
    BadRecordError,
    PreferenceRecord,
    TextRecord,
    load_customer_service,
    read_corpus,
    read_documents,
    read_records,
    split_by_prompt,
)


def test_pipes_folders_and_loops_are_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    for name, reason in {
        "pipe": "a file is needed. Received: a pipe or a device",
        "folder": "a file is needed. Received: a folder",
        "loop": "cannot be opened: Too many levels of symbolic links",
    }.items():
        for source in ("{}", "csv:{}", "cells:{}", "conll:{}", "anthropic:{}"):
            with pytest.raises(BadFileError, match=reason):
                read_records(source.format(tmp_path / f"{name}.jsonl"), TextRecord, on_bad="skip")
        with pytest.raises(BadFileError, match=reason):
            read_corpus(tmp_path / f"{name}.jsonl")
    with pytest.raises(BadFileError, match="cannot be opened: embedded null byte"):
        read_records("a\0b.jsonl", TextRecord)


def test_what_cannot_be_read_in_a_folder_is_counted(tmp_path):
    write(tmp_path / "good.txt", "good")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "below").symlink_to(tmp_path)
    (tmp_path / "caf\udce9.txt").write_text("named in Latin-1")
    records = read_records(f"text:{tmp_path}", TextRecord, on_bad="skip")
    assert sorted(r.text for r in records) == ["good", "named in Latin-1"]
    assert sorted(os.path.basename(bad.source) for bad in records.bad) == [
        "gone.txt:1",
        "loop.txt:1",
        "pipe.txt:1",
    ]
    for record in records:
        record.source.encode("utf-8")


@pytest.mark.parametrize("place", ["hdfs://host/it", "https://a.b/it"])
@pytest.mark.parametrize(
    "source",
    ["{}.jsonl", "{}.jsonl.gz", "{}", "anthropic:{}.jsonl", "text:{}", "text:{}.zip", "csv:{}.csv"]
    + ["cells:{}.tsv", "conll:{}.conll", "csv:{}.csv?text=a"],
)
def test_places_on_other_systems_are_refused(tmp_path, monkeypatch, place, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Only local paths and those of buckets") as caught:
        read_records(source.format(place), TextRecord)
    assert place in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.tensorflow  # TFDS is
def test_folders_of_datasets_on_other_systems_are_refused():
    for read in (
        lambda: read_records("tfds:gsm8k", TextRecord, data_dir="hdfs://bucket/data"),
        lambda: load_customer_service("prompts", "train", "hdfs://bucket/data"),
        lambda: read_corpus("hdfs://bucket/corpus.txt"),
        lambda: read_documents("hdfs://bucket/corpus.gz"),
    ):
        with pytest.raises(ValueError, match="Only local paths"):
            read()


@pytest.mark.parametrize(
    "source, message",
    [
        ("{}?text=a&text=b", r"one column, as in \?text=COLUMN"),
        ("{}?text=", r"one column, as in \?text=COLUMN"),
        ("{}?text", r"one column, as in \?text=COLUMN"),
        ("{}?txt=a", "has the fields text. Received: txt=a"),
        ("jsonl:{}.x", "A source is a .jsonl"),
    ],
)
def test_a_source_that_says_nothing_clear(tmp_path, source, message):
    path = write(tmp_path / "it.jsonl", '{"text": "a"}')
    with pytest.raises(ValueError, match=message):
        read_records(source.format(path), TextRecord)


@pytest.mark.parametrize("field", ["prompt", "chosen", "rejected", "margin"])
def test_a_stated_column_changes_what_is_read_or_is_refused(tmp_path, field):
    """Also of a field that may be absent: it is never silently the default."""
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "margin": 1.0}
    other = row | {"other": 2.0 if field == "margin" else "o"}
    path = write(tmp_path / "it.jsonl", json.dumps(other))
    plain, changed = (
        read_records(source, PreferenceRecord)[0] for source in (path, f"{path}?{field}=other")
    )
    assert getattr(plain, field) == row[field] and getattr(changed, field) == other["other"]
    with pytest.raises(
        BadRecordError, match=r"the field 'none' is missing. Received fields: prompt"
    ):
        read_records(f"{path}?{field}=none", PreferenceRecord)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_fraction_is_between_0_and_1(fraction):
    with pytest.raises(ValueError, match="test_fraction must be between 0 and 1"):
        split_by_prompt([TextRecord("a")], fraction)
