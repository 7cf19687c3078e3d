"""Python functions as rewards: how they want to be called, and where they are found by name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PROMPTS = ("prompts",)
_RESPONSES = ("responses", "completions")
_RECORDS = ("records",)


class Signature(NamedTuple):
    """How a reward function is called."""

    takes_record: bool  # (prompt, response, record) instead of (prompt, response)
    is_batched: bool  # lists of them at once


def signature_of(function: Callable) -> Signature:
    """How a reward function wants to be called.

    A function whose first two parameters are called ``prompts`` and ``responses`` (or ``completions``) is
    given a whole batch as lists and returns a list; any other is given one prompt and one response. A third
    parameter without a default is the record, with all columns of the data.

    Raises:
        ValueError: if it takes neither two nor three arguments.

    >>> signature_of(lambda prompt, response: 0.0)
    Signature(takes_record=False, is_batched=False)
    >>> signature_of(lambda prompts, responses, records: [0.0])
    Signature(takes_record=True, is_batched=True)
    >>> signature_of(lambda response: 0.0)
    Traceback (most recent call last):
    ValueError: A reward is called as (prompt, response) or (prompt, response, record). Received: <lambda>(response)
    """
    name = getattr(function, "__name__", type(function).__name__)
    if not callable(function):
        raise ValueError(
            "A reward is called as (prompt, response) or (prompt, response, record). "
            f"Received: {function!r}, which is no function"
        )
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin that does not tell
        return Signature(takes_record=False, is_batched=False)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    needs_more = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if needs_more or len(required) > 3 or (len(positional) < 2 and not takes_any):
        shown = ", ".join(map(str, parameters))
        raise ValueError(
            "A reward is called as (prompt, response) or (prompt, response, record). "
            f"Received: {name}({shown})"
        )
    names = [p.name for p in positional[:2]]
    is_batched = len(names) == 2 and names[0] in _PROMPTS and names[1] in _RESPONSES
    return Signature(takes_record=len(required) == 3, is_batched=is_batched)


def find_function(address: str, what: str = "reward") -> Callable:
    """The function that ``MODULE:NAME`` or ``FILE.py:NAME`` names.

    Args:
        address: str.
        what: the function's part, for the message.

    Raises:
        ValueError: if there is no such module, file or function, or it cannot be imported.
    """
    place, _, name = address.rpartition(":")
    if not (place and name):
        raise ValueError(
            f"A {what} function is named MODULE:NAME or FILE.py:NAME. Received: {address!r}"
        )
    try:
        module = _of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        function = getattr(module, name)
    except Exception as error:  # noqa: BLE001 (the module is a program, and may raise anything)
        raise ValueError(f"The {what} {address} cannot be imported: {error}") from error
    if not callable(function):
        raise ValueError(f"The {what} {address} must be a function. Received: {function!r}")
    return function


def _of_file(path: Path):
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
