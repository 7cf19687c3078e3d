"""Option records: frozen dataclasses whose fields say what a setting is, and which values it takes.

    >>> @option_record
    ... class Training:
    ...     steps: int = option(100, "Optimizer steps.", at_least=1)
    ...     clip: float = option(-1.0, "Clip range; -1 for the algorithm's own.", above=0, also=(-1,))
    >>> Training(steps=0)
    Traceback (most recent call last):
        ...
    ValueError: --steps must be at least 1. Received: steps=0
    >>> build(Training, {"steps": 5})
    Training(steps=5, clip=-1.0)

A field that is itself such a record gives dotted names (``ppo.steps``). Command-line flags, JSON files and
``--help`` are read off the records elsewhere; what a value must be is checked here, wherever it comes from.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

Record = TypeVar("Record")
Number = int | float


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that an option takes.

    Attributes:
        at_least, at_most: the least and the greatest, themselves allowed; None for none.
        above, below: bounds that are not allowed themselves; None for none.
        also: single values that are allowed beside.
    """

    at_least: Number | None = None
    above: Number | None = None
    at_most: Number | None = None
    below: Number | None = None
    also: tuple[Number | str, ...] = ()

    def __contains__(self, value: Number | str) -> bool:
        """Whether it is one of them; NaN and infinity never are."""
        return value in self.also or (
            not isinstance(value, str)
            and (isinstance(value, int) or math.isfinite(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """The range in words.

        >>> str(Range(above=0, at_most=1, also=(-1,)))
        'above 0 and at most 1, or -1'
        >>> str(Range())
        'a finite number'
        """
        bounds = [
            f"{words} {bound}"
            for words, bound in (
                ("at least", self.at_least),
                ("above", self.above),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if bound is not None
        ]
        return ", or ".join([" and ".join(bounds) or "a finite number", *map(str, self.also)])


def option(
    default: Any,
    help: str,
    choices: Collection[str] | None = None,
    *,
    at_least: Number | None = None,
    above: Number | None = None,
    at_most: Number | None = None,
    below: Number | None = None,
    also: Collection[Number | str] = (),
    list_of: type | None = None,
) -> Any:
    """A field of an option record.

    Args:
        default: bool, int, float, str, or another option record; the type is the option's.
        help: what the option is.
        choices: the strings allowed; None for any.
        at_least, above, at_most, below, also: the numbers allowed, see ``Range``. A float is finite in
            any case.
        list_of: int, float or str: a text that holds several, separated by commas, each in the range or
            one of the choices; "" holds none. None for a single value.
    """
    if any(bound is not None for bound in (at_least, above, at_most, below)) or also:
        numbers = Range(at_least, above, at_most, below, tuple(also))
    else:
        numbers = Range() if isinstance(default, float) or list_of in (int, float) else None
    metadata = {"help": help, "choices": choices, "range": numbers, "list_of": list_of}
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def option_record(cls: type[Record]) -> type[Record]:
    """Makes a class a frozen dataclass that checks its options: their ranges before its own
    ``__post_init__``, their choices after it."""
    own = cls.__dict__.get("__post_init__")
    inherited = getattr(cls, "__post_init__", None)
    if own is None and inherited is not None:  # it checks already, this class's fields too
        return dataclasses.dataclass(frozen=True)(cls)

    def checked(self):
        is_whole = type(self).__post_init__ is checked  # not of a class above the record's
        fields = dataclasses.fields(self) if is_whole else ()
        options = [(field, getattr(self, field.name)) for field in fields]
        for field, value in options:
            _check_range(field.name, value, field)
        if own is not None:
            own(self)
        for field, value in options:
            _check_choice(field.name, value, field)

    cls.__post_init__ = checked
    return dataclasses.dataclass(frozen=True)(cls)


def default_of(field: dataclasses.Field) -> Any:
    """The default value of a field."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory()


def help_of(field: dataclasses.Field) -> str:
    """What ``--help`` shows: the field's help, and which numbers it takes.

    >>> [help_of(field) for field in dataclasses.fields(_Example)]
    ['Optimizer steps (at least 1)']
    """
    numbers = field.metadata["range"]
    text = field.metadata["help"].rstrip(".")
    return f"{text} ({numbers})" if numbers is not None and numbers != Range() else text


def check(name: str, value: Any, field: dataclasses.Field) -> Any:
    """The value of an option, if it takes it; an integer for a float becomes one.

    Args:
        name: the option's, with the names of the records around it.
        value: what was given.
        field: the option's.

    Raises:
        ValueError: naming the option, what it takes and what it was given.
    """
    default = default_of(field)
    wanted = type(default)
    if dataclasses.is_dataclass(default):
        return value
    if wanted is float and type(value) is int:
        value = _as_float(value)
    if type(value) is not wanted:
        raise ValueError(f"{name} must be of type {wanted.__name__}. Received: {value!r}")
    _check_range(name, value, field)
    _check_choice(name, value, field)
    return value


def _check_range(name, value, field):
    """Raises unless a number, or each number of a list, is in the option's range."""
    numbers = field.metadata.get("range")
    list_of = field.metadata.get("list_of")
    if numbers is None or not isinstance(value, (int, float) if list_of is None else str):
        return
    parts = [value] if list_of is None else [_number(part, list_of) for part in _split(value)]
    if not all(part in numbers for part in parts):
        raise ValueError(_complaint(name, value, str(numbers), list_of))


def _check_choice(name, value, field):
    """Raises unless a text, or each text of a list, is one of the option's choices."""
    choices, list_of = field.metadata.get("choices"), field.metadata.get("list_of")
    if choices is None:
        return
    if not all(part in choices for part in ([value] if list_of is None else _split(value))):
        allowed = "one of " + ", ".join(choice or '""' for choice in choices)
        raise ValueError(_complaint(name, value, allowed, list_of))


def _complaint(name, value, allowed, list_of):
    each = "" if list_of is None else "values separated by commas, each "
    return f"--{name} must be {each}{allowed}. Received: {name.rpartition('.')[2]}={value}"


def _split(text):
    return text.split(",") if text else []


def _number(text, kind):
    """The number of a part of a list, or the text if it is none."""
    try:
        return kind(text)
    except ValueError:
        return text


def build(
    record_class: type[Record],
    values: Mapping[str, Any],
    given: Callable[[str], Any] = lambda name: None,
    prefix: str = "",
) -> Record:
    """A record from nested dicts, and values by dotted name over them.

    Args:
        record_class: the option record.
        values: field name -> value or nested dict.
        given: dotted name -> a value that wins; None for none.
        prefix: of the dotted names.

    Raises:
        ValueError: naming an unknown option, or one whose value it does not take.
    """
    name = prefix.rstrip(".") or "options"
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} must be an object of options. Received: {values!r}")
    fields = {field.name: field for field in dataclasses.fields(record_class)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(
            f"There is no option {prefix}{unknown[0]}; there are {', '.join(sorted(fields))}"
        )
    chosen = {}
    for name, field in fields.items():
        default = default_of(field)
        if dataclasses.is_dataclass(default):
            nested = values.get(name, {})
            if isinstance(nested, Mapping):
                nested = {**dataclasses.asdict(default), **nested}
            chosen[name] = build(type(default), nested, given, f"{prefix}{name}.")
            continue
        value = given(prefix + name)
        if value is None:
            value = values.get(name, default)
        chosen[name] = check(prefix + name, value, field)
    try:
        return record_class(**chosen)
    except ValueError as error:
        if prefix:
            raise ValueError(f"{prefix.rstrip('.')}: {error}") from error
        raise


def read_json(file: str | os.PathLike) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: naming file and line, if it is not JSON.
    """
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}:{error.lineno}: not JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{file}: not JSON: {error}") from error


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


@option_record
class _Example:
    steps: int = option(1, "Optimizer steps", at_least=1)
