"""JSON that clients send, read strictly: nothing in it is dropped, and all of its strings are text."""

from __future__ import annotations

import json
from typing import Any

from tfalign.serving.checks import shown

_MOST_NESTED = 32


def read_object(given: bytes | str, what: str) -> dict[str, Any]:
    """The object that a JSON text is.

    Args:
        given: UTF-8, or a str.
        what: str, what it is called, such as "body".

    Returns:
        dict; its nesting is shallow.

    Raises:
        ValueError: if it is none, has a name twice in one object, NaN, or half a surrogate pair.

    >>> read_object('{"n": 1, "n": 2}', "body")
    Traceback (most recent call last):
    ValueError: The body has a name twice in one object: 'n'
    """
    try:
        text = given.decode("utf-8") if isinstance(given, bytes) else given
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once_each)
    except _RepeatedError as error:
        name = shown(error.args[0])
        raise ValueError(f"The {what} has a name twice in one object: {name}") from None
    except UnicodeDecodeError:
        raise ValueError(f"The {what} is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise ValueError(f"The {what} is not JSON.") from None
    if not isinstance(value, dict):
        raise ValueError(f"The {what} must be a JSON object.")
    _check_texts(value, what)
    return value


class _RepeatedError(Exception):
    """A name that stands twice in an object, of which one would be dropped."""


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


def _once_each(pairs):
    fields = {}
    for name, value in pairs:
        if name in fields:
            raise _RepeatedError(name)
        fields[name] = value
    return fields


def _check_texts(value, what):
    left = [(value, 1)]
    while left:
        part, depth = left.pop()
        if depth > _MOST_NESTED:
            raise ValueError(f"The {what} is nested more than {_MOST_NESTED} deep.")
        if isinstance(part, dict):
            left += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            left += [(inner, depth + 1) for inner in part]
        elif isinstance(part, str) and not part.isascii():
            try:
                part.encode("utf-8")
            except UnicodeEncodeError as error:
                half = part[error.start : error.start + 1]
                raise ValueError(
                    f"The {what} holds half a surrogate pair, which is not text. Received: {half!a}"
                ) from None
