"""Option records: frozen dataclasses whose fields have a default, a help text, choices and a range.

A record belongs to the class that takes it. Flags, config files, ``--help`` and the API reference are read off
it, so an option is said once. Records nest; the names of all options of a record are distinct, so each may
be given by its name alone:

>>> @dataclasses.dataclass(frozen=True)
... class Update(Options):
...     learning_rate: float = option(1e-3, "Peak learning rate.", above=0)
>>> @dataclasses.dataclass(frozen=True)
... class Job(Options):
...     data: str = option("", "Training data.")
...     update: Update = record(Update(learning_rate=0.5))
>>> build(Job, {"data": "a.jsonl", "learning_rate": 0.1})
Job(data='a.jsonl', update=Update(learning_rate=0.1))
>>> changed(Job(), learning_rates=1)
Traceback (most recent call last):
ValueError: There is no option learning_rates; did you mean learning_rate?

This module imports neither absl nor Keras.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_RANGE = ("at_least", "above", "at_most", "below")


def option(
    default: Any,
    help: str,
    choices: Sequence[str] | None = None,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A field of an option record.

    Args:
        default: the value; None where whoever takes the record has a number of its own.
        help: what it is, a sentence or two.
        choices: the strings allowed; None for any.
        at_least, above, at_most, below: bounds of a number.
    """
    bounds = dict(zip(_RANGE, (at_least, above, at_most, below)))
    metadata = {"help": help, "choices": choices, "bounds": bounds}
    return dataclasses.field(default=default, metadata=metadata)


def record(default: Options | None, help: str = "", *, prefix: str = "") -> Any:
    """A field of an option record that is a record itself.

    Args:
        default: the record; None for one that is absent until one of its options is given.
        help: heading of its options in ``--help``; the first line of its docstring where empty.
        prefix: put before the names of its options, such as "lora.".
    """
    metadata = {"help": help, "prefix": prefix, "record": True}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of option records: checks every field's type, choices and bounds.

    Raises:
        ValueError: naming the option and what was received.
    """

    def __post_init__(self):
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            if "record" not in field.metadata:
                value = _typed(field.name, getattr(self, field.name), hints[field.name])
                _check(field, value)
                object.__setattr__(self, field.name, value)


class Leaf(NamedTuple):
    """One option of a record, however deep it stands."""

    name: str  # by which it is given, "learning_rate" or "lora.rank"
    path: tuple[str, ...]  # of field names
    owner: type[Options]  # the record it is a field of
    field: dataclasses.Field
    hint: Any  # its type
    default: Any


def leaves(kind: type[Options], default: Options | None = None, prefix: str = "") -> list[Leaf]:
    """All options of a record class, in order.

    Raises:
        TypeError: if two have one name.
    """
    found = list(_leaves(kind, kind() if default is None else default, prefix, ()))
    names = [leaf.name for leaf in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TypeError(f"{kind.__name__} has two options of the name {min(twice)}")
    return found


def build(kind: type[Options], values: Mapping[str, Any], default: Options | None = None) -> Any:
    """A record from nested or flat names and values.

    Args:
        kind: the record's class.
        values: name of an option to its value, or name of a record in it to a dict of such.
        default: the record whose values hold where none is given; ``kind()`` where None.

    Raises:
        ValueError: naming an unknown option and the one that may have been meant, one given twice, or a value
            of the wrong type or out of its range.
    """
    default = kind() if default is None else default
    known = {leaf.name: leaf for leaf in leaves(kind, default)}
    given: dict[tuple[str, ...], Any] = {}
    for name, value in _flat(kind, values):
        if name not in known:
            raise ValueError(unknown_option(name, known))
        if known[name].path in given:
            raise ValueError(f"The option {name} is given twice")
        given[known[name].path] = value
    return _replaced(kind, default, given)


def changed(options: Options, **values: Any) -> Any:
    """A record with some of its options changed, by their names, see ``build``."""
    return build(type(options), values, options)


def to_dict(options: Options) -> dict[str, Any]:
    """A record as nested JSON-able dicts."""
    return json.loads(json.dumps(dataclasses.asdict(options)))


def unknown_option(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """The sentence about an option that does not exist."""
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"There is no option {name}; did you mean {near[0]}?"
    return f"There is no option {name}; there are {', '.join(sorted(known))}"


def read_file(path: str | Path) -> dict[str, Any]:
    """The options of a JSON or YAML file.

    Raises:
        ValueError: if it is neither, naming the file and the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"The config file cannot be read: {error}") from None
    values = _yaml(path, text) if path.suffix in (".yaml", ".yml") else _json(path, text)
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} must hold an object. Received: {type(values).__name__}")
    return dict(values)


def heading(kind: type[Options], field: dataclasses.Field) -> str:
    """What a record's options stand under in ``--help``."""
    return field.metadata["help"] or (_hint(kind, field).__doc__ or "").strip().splitlines()[0]


def _json(path, text):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None


def _yaml(path, text):
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(error, "problem_mark", None)
        raise ValueError(f"{path}:{line.line + 1 if line else 1}: not YAML: {error}") from None


@functools.cache
def _hints(kind):
    """Types by field; those of the records in it are also known from their defaults."""
    defaults = [field.default for field in dataclasses.fields(kind)]
    inner = {type(one).__name__: type(one) for one in defaults if isinstance(one, Options)}
    return typing.get_type_hints(kind, localns=inner)


def _hint(kind, field):
    """The type of a field, without the None it may be instead."""
    hint = _hints(kind)[field.name]
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    return members[0] if isinstance(hint, types.UnionType) and len(members) == 1 else hint


def _leaves(kind, default, prefix, path) -> Iterator[Leaf]:
    for field in dataclasses.fields(kind):
        value, where = getattr(default, field.name), (*path, field.name)
        if "record" in field.metadata:
            inner = _hint(kind, field)
            yield from _leaves(inner, value or inner(), prefix + field.metadata["prefix"], where)
        else:
            hint = _hints(kind)[field.name]
            yield Leaf(prefix + field.name, where, kind, field, hint, value)


def _flat(kind, values, prefix=""):
    """(name, value) pairs, names as those of ``leaves``."""
    if not isinstance(values, Mapping):
        raise ValueError(
            f"The options {prefix.rstrip('.')} must be an object. Received: {values!r}"
        )
    records = {
        field.name: field for field in dataclasses.fields(kind) if "record" in field.metadata
    }
    for name, value in values.items():
        if name not in records:
            yield prefix + str(name), value
        elif value is not None:
            inner = _hint(kind, records[name])
            value = dataclasses.asdict(value) if isinstance(value, Options) else value
            yield from _flat(inner, value, prefix + records[name].metadata["prefix"])


def _replaced(kind, default, given):
    """``default`` with the values by path."""
    changes = {}
    for field in dataclasses.fields(kind):
        inner = {path[1:]: value for path, value in given.items() if path[0] == field.name}
        if not inner:
            continue
        if "record" in field.metadata:
            record_class = _hint(kind, field)
            start = getattr(default, field.name) or record_class()
            changes[field.name] = _replaced(record_class, start, inner)
        else:
            changes[field.name] = inner[()]
    return dataclasses.replace(default, **changes)


def _typed(name, value, hint):
    """The value, as a float or tuple where it was written as an int or list."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        (hint,) = (member for member in typing.get_args(hint) if member is not type(None))
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        member = typing.get_args(hint)[0]
        return tuple(_typed(name, one, member) for one in value)
    if hint is float and type(value) is int:
        return float(value)
    if hint is Any or typing.get_origin(hint) is None and type(value) is hint:
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise ValueError(f"{name} must be of type {wanted}. Received: {name}={value!r}")


def _check(field, value):
    choices = field.metadata["choices"]
    if choices and value is not None and value not in choices:
        allowed = ", ".join(map(repr, choices))
        raise ValueError(f"{field.name} must be one of {allowed}. Received: {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{field.name} must be finite. Received: {field.name}={value}")
    bounds = {kind: at for kind, at in field.metadata["bounds"].items() if at is not None}
    if bounds and isinstance(value, int | float) and not _is_within(value, **bounds):
        said = " and ".join(f"{kind.replace('_', ' ')} {at:g}" for kind, at in bounds.items())
        raise ValueError(f"{field.name} must be {said}. Received: {field.name}={value}")


def _is_within(value, at_least=None, above=None, at_most=None, below=None):
    return (
        (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
