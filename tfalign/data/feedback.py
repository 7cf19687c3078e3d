"""Feedback: people's choices between two answers and votes on one, in one file, a JSON object a line.

A choice has "prompt", "chosen" and "rejected", a vote "prompt", "completion" and "label": the fields of ``PreferenceRecord`` and
of ``LabelledRecord``. Both may have "user".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from tfalign.data.readers.fields import make_record
from tfalign.data.readers.json_lines import json_rows
from tfalign.data.records import (
    BadFileError,
    BadRecordError,
    BadRecordPolicy,
    LabelledRecord,
    PreferenceRecord,
    Records,
)
from tfalign.files import append_line, as_path, open_log


class Feedback(NamedTuple):
    """What a file of feedback holds."""

    choices: Records  # of PreferenceRecord
    votes: Records  # of LabelledRecord


class FeedbackFile:
    """A file that feedback is added to, by any number of threads and processes.

    Args:
        path: made where absent; its folder must be there.

    Raises:
        OSError: naming the file, if it cannot be written.

    >>> import tempfile
    >>> file = FeedbackFile(tempfile.mkdtemp() + "/feedback.jsonl")
    >>> file.add({"prompt": "Hi.", "chosen": "Hello!", "rejected": "What?", "user": "mia"}).user
    'mia'
    >>> file.add({"prompt": [{"role": "user", "content": "Hi."}], "completion": "Hello!", "label": True}).label
    True
    >>> choices, votes = read_feedback(file.path)
    >>> len(choices), votes[0].prompt[0].content
    (1, 'Hi.')
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = as_path(path)
        open_log(self.path).close()

    def add(self, row: Mapping[str, Any]) -> PreferenceRecord | LabelledRecord:
        """Adds a record; it is on the disk when this returns.

        Args:
            row: a record's fields, and what else is to be kept with it, all JSON.

        Returns:
            The record that the readers make of it.

        Raises:
            BadRecordError: if they refuse it; nothing is written then.
            OSError: naming the file, if it cannot be written.
        """
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        record = _record(json.loads(line), "feedback")
        append_line(self.path, line.encode("utf-8"))
        return record


def read_feedback(path: str | os.PathLike, on_bad: str = "stop") -> Feedback:
    """Choices and votes of a file, each in its order; either may be missing.

    Args:
        path: of a ``FeedbackFile``.
        on_bad: "stop" raises at the first bad record, "skip" counts it and goes on.

    Raises:
        BadRecordError: as ``read_records``.
        BadFileError: if the file has no usable record.
        FileNotFoundError: there is no such file.
    """
    policy = BadRecordPolicy(on_bad)
    found = {PreferenceRecord: [], LabelledRecord: []}
    for where, row in json_rows(path):
        try:
            if isinstance(row, BadRecordError):
                raise row
            record = _record(row, where)
            found[type(record)].append(record)
        except BadRecordError as error:
            policy.handle(error)
    feedback = Feedback(*(Records(records, policy.bad) for records in found.values()))
    if not any(feedback):
        raise BadFileError(os.fspath(path), f"no usable feedback: {feedback.votes.summary()}")
    return feedback


def _record(row, where):
    """The record of a row, whose kind its fields tell."""
    is_choice = "chosen" in row or "rejected" in row
    return make_record(PreferenceRecord if is_choice else LabelledRecord, row, {}, where)
