"""Readers of a request's fields: the value as the server keeps it, or one sentence that names the field.

A field that is null is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfalign.serving.checks import MOST_BIAS, check_ids, check_number, check_whole, shown

Reader = Callable[
    [str, Any], Any
]  # (name, value) -> the value as the server keeps it; or ValueError

_MOST_STOPS = 4  # as OpenAI has it


def read_fields(fields: Mapping[str, Any], readers: Mapping[str, Reader], where: str = "") -> dict:
    """The fields that are there, checked.

    Args:
        fields: a JSON object.
        readers: the fields that it may have.
        where: str, what its fields' names begin with, such as "messages[0].".

    Returns:
        dict of name to value.

    Raises:
        ValueError: naming the first field that is unknown or wrong.
    """
    chosen = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name not in readers:
            raise ValueError(f"{shown(where + name)} is not a field of this request.")
        chosen[name] = readers[name](where + name, value)
    return chosen


def check_there(fields: Mapping[str, Any], keys: Iterable[str], name: str) -> None:
    """Raises a ValueError unless all of these are among an object's fields."""
    for key in keys:
        if key not in fields:
            raise ValueError(f"{name} must have {' and '.join(keys)}. Received: no {key}")


def whole(least: int, most: int | None = None) -> Reader:
    """A whole number."""
    return lambda name, value: check_whole(name, value, least, most)


def number(least: float, most: float, below: bool = False) -> Reader:
    """A number; ``below``, less than ``most``."""

    def read(name, value):
        check_number(name, value, least, most)
        if below and value == most:
            raise ValueError(f"{name} must be below {most}. Received: {name}={shown(value)}")
        return value

    return read


def only(*neutral: Any) -> Reader:
    """A field that is not supported, but for values at which it changes nothing."""

    def read(name, value):
        for one in neutral:
            if isinstance(one, bool) == isinstance(value, bool) and one == value:
                return value
        raise ValueError(f"{name} is not supported. Received: {name}={shown(value)}")

    return read


def flag(name: str, value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false. Received: {name}={shown(value)}")
    return value


def text(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string. Received: {name}={shown(value)}")
    return value


def json_object(name: str, value: Any) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object. Received: {name}={shown(value)}")
    return value


def texts_by_name(name: str, value: Any) -> dict[str, str]:
    """An object of strings."""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError(f"{name} must be an object of strings. Received: {name}={shown(value)}")
    return value


def stops(name: str, value: Any) -> tuple[str, ...]:
    """A string, or a few."""
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(stop, str) for stop in value):
        raise ValueError(f"{name} must be a string or a list of strings. Received: {shown(value)}")
    if len(value) > _MOST_STOPS:
        raise ValueError(f"{name} may have {_MOST_STOPS} strings. Received: {len(value)}")
    if "" in value:
        raise ValueError(f"{name} must not hold an empty string.")
    return tuple(value)


def token_ids(vocab_size: int) -> Reader:
    """A list of ids."""
    return lambda name, value: frozenset(check_ids(name, value, vocab_size))


def logit_bias(vocab_size: int) -> Reader:
    """An object of numbers by tokens' ids: a dict of int to number."""

    def read(name, value):
        json_object(name, value)
        for key, one in value.items():
            if not key.isascii() or not key.isdecimal() or str(int(key[:20])) != key:
                raise ValueError(
                    f"{name} must have ids of tokens as its names. Received: {shown(key)}"
                )
            check_ids(name, [int(key)], vocab_size)
            check_number(f"{name}[{shown(key)}]", one, -MOST_BIAS, MOST_BIAS)
        return {int(key): one for key, one in value.items()}

    return read


def response_format(name: str, value: Any) -> str | None:
    """An object that says what the response is to be: its form as ``Grammars.of`` has it, or None for any text."""
    json_object(name, value)
    is_of_schema = value.get("type") == "json_schema"
    readers = {"type": _format_type} | ({"json_schema": _json_schema} if is_of_schema else {})
    given = read_fields(value, readers, f"{name}.")
    check_there(given, readers, name)
    schema = given["json_schema"]["schema"] if is_of_schema else _SCHEMAS[given["type"]]
    return None if schema is None else json.dumps({"schema": schema})


def _format_type(name, value):
    kinds = (*_SCHEMAS, "json_schema")
    if value not in kinds:
        raise ValueError(f"{name} must be one of {', '.join(kinds)}. Received: {shown(value)}")
    return value


def _json_schema(name, value):
    json_object(name, value)
    readers = {"name": text, "description": text, "schema": json_object, "strict": flag}
    given = read_fields(value, readers, f"{name}.")
    check_there(given, ("name", "schema"), name)
    return given


# of response_format's types that say it all
_SCHEMAS = {"text": None, "json_object": {"type": "object"}}


def prompts(vocab_size: int) -> Reader:
    """A string or a list of ids, or a list of these; as a tuple of them."""

    def read_one(name, value):
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise ValueError(
                f"{name} must be a string or a list of token ids. Received: {name}={shown(value)}"
            )
        if not value:
            raise ValueError(f"The {name} is empty.")
        return check_ids(name, value, vocab_size)

    def read(name, value):
        if isinstance(value, list) and value and isinstance(value[0], (str, list)):
            return tuple(read_one(f"{name}[{at}]", one) for at, one in enumerate(value))
        return (read_one(name, value),)

    return read


def stream_options(name: str, value: Any) -> dict[str, bool]:
    """An object; "include_usage" is done."""
    json_object(name, value)
    readers = {"include_usage": flag, "include_obfuscation": only(False)}
    return read_fields(value, readers, f"{name}.")
