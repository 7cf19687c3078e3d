"""Option records as absl flags: defaults, then a config file, then flags."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

from tfalign.options import Leaf, build, leaves


def define_flags(kind: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """One flag for every option of a record; what was not given stays None."""
    for leaf in leaves(kind):
        _define(leaf, flag_values)


def parsed(
    kind: type,
    flag_values: flags.FlagValues,
    config: Mapping[str, Any] | None = None,
) -> Any:
    """The record of the flags given, over a config's values, over the defaults.

    Args:
        kind: the record's class.
        flag_values: parsed flags, those of ``define_flags``.
        config: see ``options.build``.

    Raises:
        ValueError: naming an unknown option, or a value of the wrong type or out of its range.
    """
    given = {
        leaf.name: flag_values[leaf.name].value
        for leaf in leaves(kind)
        if flag_values[leaf.name].present
    }
    return build(kind, config or {}, over=given)


def help_of(field: dataclasses.Field) -> str:
    """A field's help, and which numbers it takes: "Optimizer steps (at least 1)"."""
    numbers = field.metadata["range"]
    text = field.metadata["help"].rstrip(".")
    return f"{text} ({numbers})" if numbers is not None else text


def value_type(hint: Any) -> Any:
    """The type of an option's value: without None, and the members' of a tuple.

    >>> value_type(int | None), value_type(tuple[str, ...])
    (<class 'int'>, <class 'str'>)
    """
    if isinstance(hint, types.UnionType):
        (hint,) = (one for one in typing.get_args(hint) if one is not type(None))
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint


def is_list(hint: Any) -> bool:
    """Whether an option takes several values, separated by commas."""
    return typing.get_origin(hint) is tuple


def _define(leaf: Leaf, flag_values) -> None:
    kind, help = value_type(leaf.hint), help_of(leaf.field)
    if is_list(leaf.hint):
        parser = _List(kind)
        serializer = flags.CsvListSerializer(",")
        flags.DEFINE(parser, leaf.name, None, help, flag_values, serializer)
    elif leaf.field.metadata["choices"]:
        flags.DEFINE_enum(leaf.name, None, list(leaf.field.metadata["choices"]), help, flag_values)
    else:
        _DEFINE[kind](leaf.name, None, help, flag_values=flag_values)


_DEFINE: dict[type, Callable] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


class _List(flags.ArgumentParser):
    """Values separated by commas."""

    def __init__(self, kind):
        super().__init__()
        self._kind = kind

    def parse(self, argument):
        parts = argument if isinstance(argument, list | tuple) else argument.split(",")
        return tuple(self._kind(part) for part in parts if part != "")

    def flag_type(self):
        return f"comma-separated list of {self._kind.__name__}"
