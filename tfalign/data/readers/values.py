"""Values of a row's columns: texts, and what other libraries hold lists in; how a message repeats them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.data.readers.files import decoded
from tfalign.data.records import BadRecordError

_SHOWN = 60  # characters of a value that a message repeats

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _SHOWN


def shown(value: Any) -> str:
    """A value as a message repeats it: short, whatever it is, with its type."""
    text = _repr.repr(value)
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f"{text} ({type(value).__name__})"


def names_of(row: Mapping[str, Any]) -> str:
    """The names of a row's columns, as a message repeats them."""
    names = [reprlib.repr(name).strip("'\"") for name in list(row)[:20]]
    return ", ".join(names + ["..."] * (len(row) > 20)) or "none"


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
    return unicode(value, column, where)


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
                where, f"the field {name!r} is missing. Received fields: {names_of(row)}"
            )
    return {name: read_text(row[name], name, where) for name in names}


def unicode(value: str, column: str, where: str) -> str:
    """The text itself.

    Raises:
        BadRecordError: if it has half a surrogate pair, which JSON may spell and which is no character.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecordError(
            where, f"the field {column!r} is not Unicode text: half a surrogate pair"
        ) from None
    return value


def is_list(value: Any) -> bool:
    """Whether a value is a list or a tuple."""
    return isinstance(value, (list, tuple))


def as_list(value: Any) -> Any:
    """Arrays, ragged ones among them, and dicts of lists of one length as lists; all else as it is.

    >>> as_list({"role": ["user"], "content": ["Hi."]})
    [{'role': 'user', 'content': 'Hi.'}]
    """
    if hasattr(value, "to_list"):  # tf.RaggedTensor
        value = value.to_list()
    if isinstance(value, Mapping):
        columns = {name: as_list(members) for name, members in value.items()}
        lengths = {len(m) if is_list(m) else None for m in columns.values()}
        if len(lengths) == 1 and None not in lengths:
            return [dict(zip(columns, members)) for members in zip(*columns.values())]
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim else value
    is_whole = isinstance(value, (str, bytes, Mapping, list, tuple))
    return value if is_whole or not isinstance(value, Iterable) else list(value)  # nested data sets


def without_none(value: Any) -> Any:
    """A value of JSON's types without the fields that are None: Arrow gives every object the fields of all.

    >>> without_none([{"a": 1, "b": None}, {"b": {"c": None}}])
    [{'a': 1}, {'b': {}}]
    """
    if isinstance(value, Mapping):
        return {name: without_none(one) for name, one in value.items() if one is not None}
    if is_list(value):
        return [without_none(one) for one in value]
    return value
