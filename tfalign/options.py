"""Option records: frozen dataclasses whose fields say what a setting is, and which values it takes.

A record belongs to the class that takes it. Flags, config files, ``--help`` and the API reference are read off
it, so an option is said once. Records nest; the options of a record have distinct names, so each may be
given by its name alone:

    >>> @option_record
    ... class Update:
    ...     learning_rate: float = option(1e-3, "Peak learning rate.", above=0)
    >>> @option_record
    ... class Job:
    ...     data: str = option("", "Training data.")
    ...     update: Update = record(Update(learning_rate=0.5))
    >>> build(Job, {"data": "a.jsonl", "learning_rate": 0.1})
    Job(data='a.jsonl', update=Update(learning_rate=0.1))
    >>> changed(Job(), learning_rate=0)
    Traceback (most recent call last):
        ...
    ValueError: --learning_rate must be above 0. Received: learning_rate=0.0
    >>> changed(Job(), learning_rates=1)
    Traceback (most recent call last):
        ...
    ValueError: There is no option learning_rates; did you mean learning_rate?

What a value must be is checked here, wherever it comes from. This module imports neither absl nor Keras.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from typing_extensions import dataclass_transform

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
        named = ((name, getattr(self, name)) for name in ("at_least", "above", "at_most", "below"))
        bounds = [f"{name.replace('_', ' ')} {at}" for name, at in named if at is not None]
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
        default: the value; None where whoever takes the record has one of its own. A record here gives
            options with dotted names, ``record`` plain ones.
        help: what the option is.
        choices: the strings allowed; None for any.
        at_least, above, at_most, below, also: the numbers allowed, see ``Range``. A float is finite in
            any case.
        list_of: int, float or str: a text that holds several, separated by commas, each in the range or
            one of the choices; "" holds none. None for a single value.
    """
    if is_record(default):
        return record(default, help, prefix=None)
    bounded = any(bound is not None for bound in (at_least, above, at_most, below)) or also
    numbers = Range(at_least, above, at_most, below, tuple(also)) if bounded else None
    metadata = {"help": help, "choices": choices, "range": numbers, "list_of": list_of}
    return dataclasses.field(default=default, metadata=metadata)


def record(default: Any, help: str = "", *, prefix: str | None = "") -> Any:
    """A field of an option record that is a record itself.

    Args:
        default: the record; None for one that is absent until one of its options is given.
        help: what its options stand under in ``--help``; the first line of its docstring where empty.
        prefix: put before the names of its options; None for the field's name and a dot.
    """
    return dataclasses.field(default=default, metadata={"help": help, "prefix": prefix})


@dataclass_transform(frozen_default=True, field_specifiers=(option, record))
def option_record(cls: type[Record]) -> type[Record]:
    """Makes a class a frozen dataclass that checks its options: types and ranges before its own
    ``__post_init__``, choices after it."""
    own = cls.__dict__.get("__post_init__")
    inherited = getattr(cls, "__post_init__", None)
    if own is None and inherited is not None:  # it checks already, this class's fields too
        return dataclasses.dataclass(frozen=True)(cls)

    def checked(self):
        is_whole = type(self).__post_init__ is checked  # not of a class above the record's
        fields = [f for f in dataclasses.fields(self) if is_whole and not _holds_record(f)]
        hints = _hints(type(self))
        for field in fields:
            value = _typed(field.name, getattr(self, field.name), field, hints[field.name])
            object.__setattr__(self, field.name, value)
        if own is not None:
            own(self)
        for field in fields:
            _check_choice(field.name, getattr(self, field.name), field)

    cls.__post_init__ = checked
    return dataclasses.dataclass(frozen=True)(cls)


def is_record(value: Any) -> bool:
    """Whether it is an option record."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


class Leaf(NamedTuple):
    """One option of a record, however deep it stands."""

    name: str  # by which it is given, "learning_rate" or "lora.rank"
    path: tuple[str, ...]  # of field names
    owner: type  # the record it is a field of
    heading: str  # what that record's options stand under; "" for the outermost
    field: dataclasses.Field
    hint: Any  # its type
    default: Any


def leaves(kind: type, default: Any = None) -> list[Leaf]:
    """All options of a record class, in order.

    Raises:
        TypeError: if two have one name.
    """
    found = list(_leaves(kind, kind if default is None else default, "", (), ""))
    names = [leaf.name for leaf in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TypeError(f"{kind.__name__} has two options of the name {min(twice)}")
    return found


def build(
    kind: type[Record],
    values: Mapping[str, Any],
    default: Record | None = None,
    over: Mapping[str, Any] = types.MappingProxyType({}),
) -> Record:
    """A record from names and values.

    Args:
        kind: the record's class.
        values: name of an option to its value, or of a record in it to a dict of such.
        default: whose values hold where none is given; the fields' own where None.
        over: values that replace others, as flags do those of a file.

    Raises:
        ValueError: naming an unknown option and the one that may have been meant, one given twice, or one
            whose value it does not take.
    """
    default = kind if default is None else default
    known = {leaf.name: leaf for leaf in leaves(kind, default)}
    given = _by_path(kind, values, known) | _by_path(kind, over, known)
    return _replaced(kind, default, given, "")


def _by_path(kind, values, known):
    given = {}
    for name, value in _flat(kind, values):
        if name not in known:
            raise ValueError(unknown("option", name, known))
        leaf = known[name]
        if leaf.path in given:
            raise ValueError(f"The option {name} is given twice")
        given[leaf.path] = check(name, value, leaf.field, leaf.hint)
    return given


def changed(options: Record, **values: Any) -> Record:
    """A record with some of its options changed, by their names, see ``build``."""
    return build(type(options), values, options)


def to_dict(options: Any) -> dict[str, Any]:
    """A record as nested JSON-able dicts."""
    return json.loads(json.dumps(dataclasses.asdict(options)))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence about a name that does not exist.

    >>> unknown("job", "algin", ["align", "sft"])
    'There is no job algin; did you mean align?'
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    near = near or difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    if near:
        return f"There is no {what} {name}; did you mean {near[0]}?"
    return f"There is no {what} {name}; there are {', '.join(sorted(known))}"


def check(name: str, value: Any, field: dataclasses.Field, hint: Any) -> Any:
    """The value of an option, if it takes it; an integer for a float becomes one, a list a tuple.

    Args:
        name: the option's.
        value: what was given.
        field: the option's.
        hint: its type.

    Raises:
        ValueError: naming the option, what it takes and what it was given.
    """
    value = _typed(name, value, field, hint)
    _check_choice(name, value, field)
    return value


def _typed(name, value, field, hint):
    """A value of an option's type, and in its range."""
    wanted, may_be_none = _without_none(hint)
    if value is None and may_be_none:
        return None
    if typing.get_origin(wanted) is tuple and isinstance(value, list | tuple):
        member = typing.get_args(wanted)[0]
        return tuple(_typed(name, one, field, member) for one in value)
    if wanted is float and type(value) is int:
        value = _as_float(value)
    if type(value) is not wanted:
        kind = getattr(wanted, "__name__", str(wanted))
        raise ValueError(f"{name} must be of type {kind}. Received: {value!r}")
    numbers, list_of = field.metadata["range"], field.metadata["list_of"]
    if numbers is None and (wanted is float or list_of in (int, float)):
        numbers = Range()
    if numbers is not None and (list_of or wanted in (int, float)):
        parts = [_number(part, list_of) for part in _split(value)] if list_of else [value]
        if not all(part in numbers for part in parts):
            raise ValueError(_complaint(name, value, str(numbers), list_of))
    return value


def _check_choice(name, value, field):
    """Raises unless a text, or each of several, is one of the option's choices."""
    choices, list_of = field.metadata["choices"], field.metadata["list_of"]
    if choices is None or value is None:
        return
    several = value if isinstance(value, tuple) else [value]
    if not all(one in choices for one in (_split(value) if list_of else several)):
        allowed = "one of " + ", ".join(choice or '""' for choice in choices)
        raise ValueError(_complaint(name, value, allowed, list_of))


def _complaint(name, value, allowed, list_of):
    each = "values separated by commas, each " if list_of else ""
    return f"--{name} must be {each}{allowed}. Received: {name.rpartition('.')[2]}={value}"


def _split(text):
    return text.split(",") if text else []


def _number(part, kind):
    """The number of a part of a list, or the text if it is none."""
    try:
        return kind(part)
    except ValueError:
        return part


@functools.cache
def _hints(kind):
    """Types by field; those of the records in it are also known from their defaults."""
    defaults = [field.default for field in dataclasses.fields(kind)]
    inner = {type(one).__name__: type(one) for one in defaults if is_record(one)}
    return typing.get_type_hints(kind, localns=inner)


def _without_none(hint):
    """(a type without the None it may be instead, whether it may)."""
    if not isinstance(hint, types.UnionType):
        return hint, False
    (wanted,) = (member for member in typing.get_args(hint) if member is not type(None))
    return wanted, True


def _holds_record(field):
    return "prefix" in field.metadata


def _record_in(kind, field):
    """(class of the record that a field holds, what is put before the names of its options)."""
    prefix = field.metadata["prefix"]
    inner = type(field.default) if is_record(field.default) else _hints(kind)[field.name]
    return _without_none(inner)[0], f"{field.name}." if prefix is None else prefix


def _leaves(kind, default, prefix, path, heading) -> Iterator[Leaf]:
    for field in dataclasses.fields(kind):
        value, where = getattr(default, field.name), (*path, field.name)
        if _holds_record(field):
            inner, more = _record_in(kind, field)
            under = field.metadata["help"] or (inner.__doc__ or "").strip().split("\n")[0]
            yield from _leaves(inner, value or inner, prefix + more, where, under.rstrip(".:"))
        else:
            hint = _hints(kind)[field.name]
            yield Leaf(prefix + field.name, where, kind, heading, field, hint, value)


def _flat(kind, values, prefix=""):
    """(name, value) pairs, names as those of ``leaves``."""
    if not isinstance(values, Mapping):
        name = prefix.rstrip(".") or "options"
        raise ValueError(f"{name} must be an object of options. Received: {values!r}")
    records = dict(_records_of(kind))
    for name, value in values.items():
        if name not in records:
            yield prefix + str(name), value
        elif value is not None:
            inner, more = records[name]
            value = dataclasses.asdict(value) if is_record(value) else value
            yield from _flat(inner, value, prefix + more)


def _records_of(kind):
    """(name, (class, prefix)) of the records in a record, and in those whose options have plain names."""
    for field in filter(_holds_record, dataclasses.fields(kind)):
        inner, prefix = _record_in(kind, field)
        yield field.name, (inner, prefix)
        if not prefix:
            yield from _records_of(inner)


def _replaced(kind, default, given, where):
    """``default``, a record or its class, with the values by path; what is wrong between options is told
    with ``where``."""
    changes = {}
    for field in dataclasses.fields(kind):
        inner = {path[1:]: value for path, value in given.items() if path[0] == field.name}
        if inner and _holds_record(field):
            record_class, prefix = _record_in(kind, field)
            start = getattr(default, field.name) or record_class
            changes[field.name] = _replaced(record_class, start, inner, where + prefix)
        elif inner:
            changes[field.name] = inner[()]
    try:
        return kind(**changes) if default is kind else dataclasses.replace(default, **changes)
    except ValueError as error:
        if where:
            raise ValueError(f"{where.rstrip('.')}: {error}") from error
        raise


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
