"""A JSON object a line (jsonlines.org)."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Iterator
from typing import Any

from tfalign.data.readers.files import decoded, is_blank, numbered_lines
from tfalign.data.readers.values import shown
from tfalign.data.records import BadRecordError

Row = tuple[str, dict[str, Any] | BadRecordError]  # a place and what is there


def json_rows(path: str | os.PathLike) -> Iterator[Row]:
    """Pairs of a place and the object of each line that is not blank, or a BadRecordError."""
    for where, line in numbered_lines(path):
        if isinstance(line, str):
            if is_blank(line):
                continue
            try:
                line = json_object(line, where)
            except BadRecordError as error:
                line = error
        yield where, line


def json_object(text: str | bytes, where: str) -> dict[str, Any]:
    """The object that a text is; NaN and Infinity are read as Python writes them.

    Args:
        text: str, or bytes in UTF-8.
        where: "file:line", for the message.

    Raises:
        BadRecordError: if it is not JSON or not an object, holds one key twice, an integer of
            thousands of digits, or is nested too deeply.

    >>> json_object('{"a": 1}', "it.jsonl:1")
    {'a': 1}
    """
    if isinstance(text, bytes):
        text = decoded(text, where, "the line")
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise BadRecordError(where, f"not JSON ({error.msg} at column {error.colno})") from None
    except _RepeatedKey as error:
        raise BadRecordError(where, f"the key {error} stands twice in one object") from None
    except RecursionError:
        raise BadRecordError(where, "not usable JSON (nested too deeply)") from None
    except ValueError:  # Python converts no more than sys.get_int_max_str_digits()
        raise BadRecordError(where, "not usable JSON (an integer of too many digits)") from None
    if not isinstance(value, dict):
        raise BadRecordError(where, f"must be a JSON object. Received: {shown(value)}")
    return value


class _RepeatedKey(ValueError):
    pass


def _distinct(pairs):
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = collections.Counter(key for key, _ in pairs)
        raise _RepeatedKey(shown(max(counts, key=counts.get)))
    return value
