"""Feedback: lines that the readers read, whole ones, whoever writes beside."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace

import pytest

from tfalign.data import (
    BadFileError,
    BadRecordError,
    FeedbackFile,
    LabelledRecord,
    PreferenceRecord,
    read_feedback,
    read_records,
    unpaired,
)
from tfalign.files import append_line

CHOICE = {"prompt": "Hi.", "chosen": "Hello!", "rejected": "What?", "user": "mia", "model": "m"}
VOTE = {"prompt": [{"role": "user", "content": "嗨"}], "completion": "你好！", "label": False}


def test_what_was_added_is_read_by_kind(tmp_path):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    added = [file.add(row) for row in (CHOICE, VOTE, CHOICE)]
    choices, votes = read_feedback(file.path)
    read = [replace(one, source="feedback") for one in (choices[0], votes[0], choices[1])]
    assert read == added and len(choices) == 2 and len(votes) == 1
    assert (choices[0].user, choices[1].source) == ("mia", f"{file.path}:3")
    assert unpaired(choices)[0].user == "mia"
    assert json.loads(file.path.read_text(encoding="utf-8").splitlines()[1]) == VOTE
    # the readers of one kind take them, too
    assert len(read_records(file.path, PreferenceRecord, on_bad="skip")) == 2
    assert read_records(file.path, LabelledRecord, on_bad="skip")[0].label is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen": " "}, "the field 'chosen' is empty"),
        ({"chosen": "What?"}, "chosen == rejected"),
        ({"user": ["mia"]}, "the field 'user' must be text"),
        ({"prompt": []}, "the field 'prompt' is empty"),
    ],
)
def test_what_the_readers_refuse_is_not_written(tmp_path, change, reason):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    with pytest.raises(BadRecordError, match=reason):
        file.add(CHOICE | change)
    assert not file.path.read_bytes()
    with pytest.raises(BadFileError, match="no usable feedback"):
        read_feedback(file.path)


def test_lines_of_many_threads_are_whole(tmp_path):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    rows = [CHOICE | {"chosen": f"{n} " * 3000} for n in range(24)]
    threads = [threading.Thread(target=file.add, args=[row]) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = read_feedback(file.path).choices
    assert sorted(one.chosen for one in read) == sorted(row["chosen"] for row in rows)


def test_half_a_line_is_ended_and_counted(tmp_path):
    file = FeedbackFile(tmp_path / "feedback.jsonl")
    file.path.write_bytes(json.dumps(CHOICE).encode()[:40])
    file.add(VOTE)
    with pytest.raises(BadRecordError, match="feedback.jsonl:1: not JSON"):
        read_feedback(file.path)
    feedback = read_feedback(file.path, on_bad="skip")
    assert len(feedback.votes) == 1 and len(feedback.votes.bad) == 1


def test_a_line_that_does_not_fit_the_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "lines"
    append_line(file, b"first")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        append_line(file, b"second")
    assert raised.value.filename == str(file)
    assert file.read_bytes() == b"first\n"
