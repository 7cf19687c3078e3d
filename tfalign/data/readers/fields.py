"""A dict of fields to a record of a kind: what each field may be, and what is said if it is not.

A prompt is a text or a conversation. A conversation is a list of messages, ``{"role": ..., "content": ...}``
or ``{"from": ..., "value": ...}``, or, as TensorFlow Datasets give a sequence of them, one dict of lists.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.data.readers.files import decoded
from tfalign.data.records import (
    KINDS,
    BadRecordError,
    PreferenceRecord,
    PromptRecord,
    RankedRecord,
    StepsRecord,
    TaggedRecord,
)
from tfalign.files import ASCII_SPACE
from tfalign.text import ASSISTANT, Message

_SHOWN = 60  # characters of a value that a message repeats
_MESSAGE_KEYS = (("role", "content"), ("from", "value"))  # as OpenAI and as ShareGPT write one
_ROLES = {"human": "user", "gpt": ASSISTANT}  # ShareGPT's names
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _SHOWN


def fields_of(kind: type) -> list[dataclasses.Field]:
    """The fields of a kind of record that a source has to give.

    Raises:
        ValueError: if it is none of ``KINDS``.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of the record classes. Received: kind={kind!r}")
    return [field for field in dataclasses.fields(kind) if field.name not in ("source", "row")]


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
    row = _with_prompt(kind, row, columns, where)
    for field in fields_of(kind):
        column = columns.get(field.name, field.name)
        if column in row:
            values[field.name] = _READERS[field.type](row[column], column, where)
        elif field.name in columns or field.default is dataclasses.MISSING:
            raise BadRecordError(
                where, f"the field {column!r} is missing. Received fields: {_names(row)}"
            )
    if kind is PromptRecord:
        prompt = columns.get("prompt", "prompt")
        values["row"] = {name: value for name, value in row.items() if name != prompt}
    record = kind(**values, source=where)
    reason = _contradiction(record)
    if reason:
        raise BadRecordError(where, reason)
    return record


def shown(value: Any) -> str:
    """A value as a message repeats it: short, whatever it is, with its type."""
    text = _repr.repr(value)
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f"{text} ({type(value).__name__})"


def read_text(value: Any, column: str, where: str) -> str:
    """A field that must be text with something in it; bytes are read as UTF-8.

    Raises:
        BadRecordError: if it is not.
    """
    if isinstance(value, bytes):
        value = decoded(value, where, f"the field {column!r}")
    if not isinstance(value, str):
        raise BadRecordError(where, f"the field {column!r} must be text. Received: {shown(value)}")
    if not value.strip():
        raise BadRecordError(where, f"the field {column!r} is empty")
    return _unicode(value, column, where)


def read_texts(
    row: Mapping[str, Any] | BadRecordError, names: Sequence[str], where: str
) -> dict[str, str]:
    """The fields of a row that must be texts.

    Raises:
        BadRecordError: the row itself if it is one; if a field is missing or is no text.
    """
    if isinstance(row, BadRecordError):
        raise row
    for name in names:
        if name not in row:
            raise BadRecordError(
                where, f"the field {name!r} is missing. Received fields: {_names(row)}"
            )
    return {name: read_text(row[name], name, where) for name in names}


def _unicode(value, column, where):
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # JSON may spell half a surrogate pair, which is no character
        raise BadRecordError(
            where, f"the field {column!r} is not Unicode text: half a surrogate pair"
        ) from None
    return value


def _word(value, column, where):
    """A word may be a space to Unicode, but not to the formats."""
    if isinstance(value, str) and value.strip(ASCII_SPACE):
        return _unicode(value, column, where)
    return read_text(value, column, where)


def _names(row):
    names = [reprlib.repr(name).strip("'\"") for name in list(row)[:20]]
    return ", ".join(names + ["..."] * (len(row) > 20)) or "none"


def _with_prompt(kind, row, columns, where):
    """The row; of two whole conversations without a prompt, that and the two answers."""
    prompt, *answers = (columns.get(name, name) for name in ("prompt", "chosen", "rejected"))
    pair = [_as_list(row.get(answer)) for answer in answers]
    if kind is not PreferenceRecord or prompt in row or "prompt" in columns:
        return row
    if None in map(_kind_of_list, pair):
        return row
    chosen, rejected = (_conversation(turns, name, where) for turns, name in zip(pair, answers))
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise BadRecordError(
            where, f"{answers[0]!r} and {answers[1]!r} must differ in their last message alone"
        )
    ends = {name: list(turns[-1:]) for name, turns in zip(answers, (chosen, rejected))}
    return {**row, prompt: list(chosen[:-1]), **ends}


def _kind_of_list(value):
    return type(value) if isinstance(value, (list, tuple)) else None


def _as_list(value):
    """Arrays, ragged ones among them, and dicts of lists of one length as lists; all else as it is."""
    if hasattr(value, "to_list"):  # tf.RaggedTensor
        value = value.to_list()
    if isinstance(value, Mapping):
        columns = {name: _as_list(members) for name, members in value.items()}
        lengths = {len(m) if _kind_of_list(m) else None for m in columns.values()}
        if len(lengths) == 1 and None not in lengths:
            return [dict(zip(columns, members)) for members in zip(*columns.values())]
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim else value
    is_whole = isinstance(value, (str, bytes, Mapping, list, tuple))
    return value if is_whole or not isinstance(value, Iterable) else list(value)  # nested data sets


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


def _message(value, column, where):
    if isinstance(value, Message):
        return value
    for role, content in _MESSAGE_KEYS if isinstance(value, dict) else ():
        if role in value and content in value:
            said_by = read_text(value[role], f"{column}.{role}", where)
            words = read_text(value[content], f"{column}.{content}", where)
            return Message(_ROLES.get(said_by, said_by), words)
    raise BadRecordError(
        where,
        f"the field {column!r} must be a message with role and content. Received: {shown(value)}",
    )


def _prompt(value, column, where):
    value = _as_list(value)
    return (_conversation if _kind_of_list(value) else read_text)(value, column, where)


def _answer(value, column, where):
    value = _as_list(value)
    if not isinstance(value, list):
        return read_text(value, column, where)
    turns = _conversation(value, column, where)
    if len(turns) != 1 or turns[0].role != ASSISTANT:
        raise BadRecordError(
            where, f"the field {column!r} must be text or one message of the assistant"
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
    if isinstance(value, (bool, np.bool_, numbers.Integral)) and value in (0, 1):
        return bool(value)
    raise BadRecordError(
        where, f"the field {column!r} must be true or false. Received: {shown(value)}"
    )


def _several(read_one):
    """A reader of lists whose members ``read_one`` reads."""

    def read(value, column, where):
        value = _as_list(value)
        if not _kind_of_list(value):
            raise BadRecordError(
                where, f"the field {column!r} must be a list. Received: {shown(value)}"
            )
        if not value:
            raise BadRecordError(where, f"the field {column!r} is empty")
        return tuple(
            read_one(member, f"{column}[{index}]", where) for index, member in enumerate(value)
        )

    return read


_conversation = _several(_message)
_READERS = {  # by a field's annotation
    "str": _answer,
    "str | Conversation": _prompt,
    "Conversation": _conversation,
    "float": _number,
    "Label": _label,
    "Score": _score,
    "User": _user,
    "bool": _truth,
    "Words": _several(_word),
    "tuple[str, ...]": _several(read_text),
    "tuple[bool, ...]": _several(_truth),
}
