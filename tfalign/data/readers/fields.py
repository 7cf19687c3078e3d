"""A dict of fields to a record of a kind: what each field may be, and what is said if it is not.

A prompt is a text or a conversation. A conversation is a list of messages (``readers.messages``) or, as TensorFlow
Datasets give a sequence of them, one dict of lists.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfalign.data.readers.look_alikes import advice
from tfalign.data.readers.messages import read_message, read_tools
from tfalign.data.readers.values import as_list, is_list, names_of, read_text, shown, unicode
from tfalign.data.records import (
    KINDS,
    BadRecordError,
    PreferenceRecord,
    RankedRecord,
    StepsRecord,
    TaggedRecord,
)
from tfalign.files import ASCII_SPACE
from tfalign.text import ASSISTANT, Message

_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_OF_EVERY_KIND = ("source", "row", "weight")


def fields_of(kind: type) -> list[dataclasses.Field]:
    """The fields of a kind of record that a source has to give.

    Raises:
        ValueError: if it is none of ``KINDS``.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of the record classes. Received: kind={kind!r}")
    return [field for field in dataclasses.fields(kind) if field.name not in _OF_EVERY_KIND]


def make_record(kind: type, row: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Any:
    """A record from the fields of a row.

    Args:
        kind: one of ``KINDS``.
        row: column -> value.
        columns: field -> column, where the source says so; a column that it says must be there.
        where: "file:line".

    Raises:
        BadRecordError: if a field is missing or is not what it must be, or they contradict each other.
    """
    values = {}
    read = _with_prompt(kind, row, columns, where)
    names = {field.name: columns.get(field.name, field.name) for field in fields_of(kind)}
    for field in fields_of(kind):
        column = names[field.name]
        if column in read:
            values[field.name] = _READERS[field.type](read[column], column, where)
        elif field.name in columns or field.default is dataclasses.MISSING:
            raise BadRecordError(
                where,
                f"the field {column!r} is missing. Received fields: {names_of(row)}{advice(kind, row)}",
            )
    record = kind(**values, source=where, row=_others(row, names.values(), values, where))
    reason = _contradiction(record)
    if reason:
        raise BadRecordError(where, reason)
    return record


def _others(row, columns, values, where):
    """The columns that are no field; what a conversation says of tools is checked."""
    others = {name: value for name, value in row.items() if name not in columns}
    talks = any(map(is_list, (values.get("prompt"), values.get("messages"))))
    if talks and others.get("tools") is not None:
        others["tools"] = read_tools(others["tools"], where)
    return others


def _word(value, column, where):
    """A word may be a space to Unicode, but not to the formats."""
    if isinstance(value, str) and value.strip(ASCII_SPACE):
        return unicode(value, column, where)
    return read_text(value, column, where)


def _with_prompt(kind, row, columns, where):
    """The row; of two whole conversations, the prompt that they share and the two answers. A prompt beside them that is a
    text (UltraFeedback) must be what the user says in them."""
    if kind is not PreferenceRecord:
        return row
    prompt, *answers = (columns.get(name, name) for name in ("prompt", "chosen", "rejected"))
    given, *pair = (as_list(row.get(name)) for name in (prompt, *answers))
    if not all(map(is_list, pair)) or is_list(given) or ("prompt" in columns and prompt not in row):
        return row
    chosen, rejected = (_conversation(turns, name, where) for turns, name in zip(pair, answers))
    if isinstance(given, str) and len(chosen) == len(rejected) == 1:
        return row
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise BadRecordError(
            where, f"{answers[0]!r} and {answers[1]!r} must differ in their last message alone"
        )
    asked = [turn.content.strip() for turn in chosen[:-1]]
    if prompt in row and read_text(given, prompt, where).strip() not in asked:
        raise BadRecordError(
            where, f"the field {prompt!r} must be said in {answers[0]!r}. Received: {shown(given)}"
        )
    ends = {name: list(turns[-1:]) for name, turns in zip(answers, (chosen, rejected))}
    return {**row, prompt: list(chosen[:-1]), **ends}


def _contradiction(record):
    """What is wrong with a record whose fields are right one by one; None for nothing."""
    if isinstance(record, PreferenceRecord) and record.chosen == record.rejected:
        return "chosen == rejected"
    if isinstance(record, RankedRecord):
        if len(record.completions) < 2:
            return f"a ranking needs two completions. Received: {len(record.completions)}"
        if len(set(record.completions)) < len(record.completions):
            return "two completions are equal"
    if isinstance(record, TaggedRecord) and len(record.words) != len(record.tags):
        return (
            f"every word needs a tag. Received: {len(record.words)} words and"
            f" {len(record.tags)} tags"
        )
    if isinstance(record, StepsRecord) and len(record.steps) != len(record.labels):
        return (
            "every step needs a label. "
            f"Received: {len(record.steps)} steps and {len(record.labels)} labels"
        )
    return None


def _prompt(value, column, where):
    value = as_list(value)
    return (_conversation if is_list(value) else read_text)(value, column, where)


def _answer(value, column, where):
    value = as_list(value)
    if not is_list(value):
        return read_text(value, column, where)
    turns = _conversation(value, column, where)
    if len(turns) != 1 or turns[0].role != ASSISTANT:
        raise BadRecordError(
            where, f"the field {column!r} must be text or one message of the assistant"
        )
    if not isinstance(turns[0], Message):
        raise BadRecordError(
            where,
            f"the field {column!r} must be a message of text alone; calls of tools are learned from whole "
            f"conversations, --conversations. Received also: {turns[0].details}",
        )
    return turns[0].content


def _number(value, column, where):
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not _is_finite(value):
        raise BadRecordError(
            where, f"the field {column!r} must be a finite number. Received: {shown(value)}"
        )
    return float(value)


def _is_finite(value):
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer beyond 1.8e308
        return False


def _label(value, column, where):
    is_number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return str(int(value)) if is_number else read_text(value, column, where)


def _score(value, column, where):
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip(ASCII_SPACE)):  # of a table
        value = float(value)
    return _number(value, column, where)


def _user(value, column, where):
    if value is None:
        return ""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return str(value)
    return read_text(value, column, where)


def _truth(value, column, where):
    if isinstance(value, str) and value.strip().lower() in _TRUTHS:  # of a table
        return _TRUTHS[value.strip().lower()]
    if isinstance(value, (bool, np.bool_, numbers.Integral)) and value in (0, 1):
        return bool(value)
    raise BadRecordError(
        where, f"the field {column!r} must be true or false. Received: {shown(value)}"
    )


def _several(read_one):
    """A reader of lists whose members ``read_one`` reads."""

    def read(value, column, where):
        value = as_list(value)
        if not is_list(value):
            raise BadRecordError(
                where, f"the field {column!r} must be a list. Received: {shown(value)}"
            )
        if not value:
            raise BadRecordError(where, f"the field {column!r} is empty")
        return tuple(
            read_one(member, f"{column}[{index}]", where) for index, member in enumerate(value)
        )

    return read


_conversation = _several(read_message)
_READERS = {  # by a field's annotation
    "str": _answer,
    "str | Conversation": _prompt,
    "Conversation": _conversation,
    "Label": _label,
    "Score": _score,
    "User": _user,
    "bool": _truth,
    "Words": _several(_word),
    "tuple[str, ...]": _several(read_text),
    "tuple[bool, ...]": _several(_truth),
}
