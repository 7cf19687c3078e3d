r"""JSON schemas as regular expressions: what matches is JSON of the schema, without exception.

The converse does not hold: JSON may be written in more ways than these (a space may stand behind a colon or a
comma, and nowhere else; properties come in the schema's order), and nesting without a bound is cut. A keyword that
would have to be ignored is refused by its name. The syntax is that of Rust's ``regex``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tfalign.text.number_patterns import DIGITS, integer_pattern, number_pattern, whole_bounds

_CHARACTER = r'([^"\\\x00-\x1F\x7F-\x9F]|\\["\\/bfnrt])'
_INTEGER = r"-?(0|[1-9][0-9]*)"
_SCALARS = {
    "null": "null",
    "boolean": "(true|false)",
    "integer": _INTEGER,
    "number": _INTEGER + r"(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?",
    "string": f'"{_CHARACTER}*"',
}
_DATE = (
    "[1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z"
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
# of a string's pattern: characters that stand for themselves in JSON, classes of them, groups, repetitions
_PATTERN = re.compile(
    r"\^?(?:[A-Za-z0-9 _,:;/@#%&=!<>'~-]|\\[.+*?()\[\]{}|^$/-]|\\d|\(\?:|\((?!\?)|[)|?*+]|\{\d+(?:,\d*)?\}"
    r"|\[(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9 _,:;/@#%=!<>'.*+?]|\\d|\\[.-])+-?\])*\$?"
)
_MOST_DEEP = 2  # arrays and objects of which a schema says nothing, within each other
_MOST_REFERENCES = 3  # of one definition, within each other
_ANNOTATIONS = {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description"} | {
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
}
_OF_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_OF_TYPES: dict[str, frozenset[str]] = {
    "integer": _OF_NUMBERS,
    "number": _OF_NUMBERS,
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
_IS_OF_TYPE = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def json_pattern(schema: Any) -> str:
    r"""The regular expression of a schema's JSON.

    Args:
        schema: a JSON schema, parsed. Done are type, enum, const, anyOf, $ref within the schema; properties,
            required, additionalProperties; items, prefixItems, minItems, maxItems; minimum, maximum,
            exclusiveMinimum, exclusiveMaximum, see ``number_patterns``; minLength, maxLength, format (date, time,
            date-time, uuid), and a pattern of plain characters, classes, groups and repetitions.

    Raises:
        ValueError: if a keyword is not done, naming it, or nothing can be written.

    >>> json_pattern({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]})
    '\\{"ok": ?(true|false)\\}'
    """
    try:
        pattern = _Translation(schema).of(schema, {})
    except RecursionError:
        raise ValueError("the schema is nested too deep") from None
    if pattern is None:
        raise ValueError("nothing of bounded depth is JSON of the schema")
    return pattern


def any_json(kind: str | None = None, deep: int = _MOST_DEEP) -> str:
    """The regular expression of all JSON of a type, or of any; within it, arrays and objects ``deep`` deep."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    kinds = ["null", "boolean", "number", "string", *(("array", "object") if deep else ())]
    value = _either([any_json(one, deep - 1) for one in kinds])
    if kind is None:
        return value
    if kind == "array":
        return rf"\[({_list_of(value)})?\]"
    return rf"\{{({_list_of(_pair(value))})?\}}"


class _Translation:
    """A schema's parts as regular expressions; None for a part of which there is nothing.

    Methods take ``seen``: how many references to a definition a part stands in, by its name.
    """

    def __init__(self, root):
        self.root = root

    def of(self, schema, seen):
        if isinstance(schema, bool):
            return any_json() if schema else None
        if not isinstance(schema, Mapping):
            raise ValueError(f"a schema is an object, true or false: {_shown(schema)}")
        keys = set(schema) - _ANNOTATIONS
        for name, translate in (("$ref", self.reference), ("anyOf", self.any_of)):
            if name in keys:
                _refuse(keys - {name}, f"beside {name}")
                return translate(schema[name], seen)
        for name in {"enum", "const"} & keys:
            _refuse(keys - {name, "type"}, f"beside {name}")
            values = schema[name] if name == "enum" else [schema[name]]
            return _constants(name, values, _types(schema))
        _refuse(keys - {"type"}.union(*_OF_TYPES.values()), "")
        _check_shapes(schema)
        return _either([self.typed(kind, schema, seen) for kind in _types(schema) or _guess(keys)])

    def typed(self, kind, schema, seen):
        if not _OF_TYPES.get(kind, frozenset()) & set(schema):
            return any_json(kind)
        if kind in ("array", "object"):
            return {"array": self.array, "object": self.object}[kind](schema, seen)
        return {"string": _string, "integer": _integer, "number": _number}[kind](schema)

    def reference(self, name, seen):
        if not isinstance(name, str) or not name.startswith("#"):
            raise ValueError(f"a $ref begins with #: {_shown(name)}")
        if seen.get(name, 0) >= _MOST_REFERENCES:
            return None
        part = self.root
        for step in name[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, Mapping) or step not in part:
                raise ValueError(f"there is nothing at $ref {_shown(name)}")
            part = part[step]
        return self.of(part, seen | {name: seen.get(name, 0) + 1})

    def any_of(self, schemas, seen):
        if not isinstance(schemas, Sequence) or isinstance(schemas, str) or not schemas:
            raise ValueError(f"anyOf is a list of schemas: {_shown(schemas)}")
        return _either([self.of(one, seen) for one in schemas])

    def array(self, schema, seen):
        least, most = _bounds(schema, "minItems", "maxItems")
        first = [self.of(one, seen) for one in schema.get("prefixItems", ())]
        count = first.index(None) if None in first else len(first)
        begin = ", ?".join(first[:count])
        choices = [
            ", ?".join(first[:n]) for n in range(least, count + 1) if most is None or n <= most
        ]
        other = self.of(schema.get("items", True), seen)
        if count == len(first) and other is not None and (most is None or most > count):
            begin, used = (begin, count) if first else (other, 1)
            choices.append(
                begin + _repeated(f", ?{other}", max(least, count + 1) - used, most and most - used)
            )
        inner = _either(choices)
        return None if inner is None else rf"\[{inner}\]"

    def object(self, schema, seen):
        properties, required = schema.get("properties", {}), schema.get("required", [])
        more = schema.get("additionalProperties", not properties)
        if properties and more not in (False, True):
            raise ValueError("additionalProperties beside properties is not done")
        for name in required:
            if name not in properties:
                raise ValueError(f"required has {_shown(name)}, which properties has not")
        if not properties:
            value = self.of(more, seen)
            return r"\{\}" if value is None else rf"\{{({_list_of(_pair(value))})?\}}"
        pairs = []
        for name, inner in properties.items():
            value = self.of(inner, seen)
            if value is not None:
                pairs.append((f"{_literal(name)}: ?{value}", name in required))
            elif name in required:
                return None
        return rf"\{{{_in_order(pairs)}\}}"


def _in_order(pairs):
    """(pattern, whether it must be there) pairs, with commas between those that are."""
    choices = []
    for place, (pattern, is_required) in enumerate(pairs):
        rest = [f", ?{one}" if must else f"(, ?{one})?" for one, must in pairs[place + 1 :]]
        choices.append(pattern + "".join(rest))
        if is_required:
            return _either(choices)
    return _either(["", *choices])


def _integer(schema):
    return _within(schema, integer_pattern(*whole_bounds(*_interval(schema))))


def _number(schema):
    return _within(schema, number_pattern(*_interval(schema)))


def _within(schema, pattern):
    if pattern is None:
        bounds = {name: schema[name] for name in sorted(_OF_NUMBERS & set(schema))}
        raise ValueError(
            f"there is no integer, and no decimal of {DIGITS} digits, within {_shown(bounds)}"
        )
    return pattern


def _interval(schema):
    """(Fraction or None the lowest, Fraction or None the highest, whether each is left out)."""
    low, low_is_open = _bound(schema, "minimum", "exclusiveMinimum", 1)
    high, high_is_open = _bound(schema, "maximum", "exclusiveMaximum", -1)
    return low, high, (low_is_open, high_is_open)


def _bound(schema, closed, exclusive, sign):
    """(Fraction or None the narrower of two bounds, whether it is left out)."""
    found = []
    for name in {closed, exclusive} & set(schema):
        value = schema[name]
        if not _IS_OF_TYPE["number"](value) or not abs(value) < math.inf:
            raise ValueError(f"{name} is a number: {_shown(value)}")
        # below, a float64 as it is written; above, the integer that it is
        exact = Fraction(str(value) if abs(value) < 10**DIGITS else value)
        found.append((sign * exact, name == exclusive))
    bound, is_open = max(found, default=(None, False))
    return bound and sign * bound, is_open


def _string(schema):
    given = set(schema) & _OF_TYPES["string"]
    if given <= {"minLength", "maxLength"}:
        return f'"{_repeated(_CHARACTER, *_bounds(schema, "minLength", "maxLength"))}"'
    _refuse(given - {"format"} if "format" in given else given - {"pattern"}, "beside another")
    if "format" in given:
        if schema["format"] not in list(_FORMATS):
            raise ValueError(f"format is one of {', '.join(_FORMATS)}: {_shown(schema['format'])}")
        return f'"{_FORMATS[schema["format"]]}"'
    pattern = schema["pattern"]
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        raise ValueError(
            "a string's pattern has plain characters, classes of them, groups and repetitions alone:"
            f" {_shown(pattern)}"
        )
    inner = re.sub(r"^\^|(?<!\\)\$$", "", pattern)
    try:
        re.compile(inner)  # by itself: its groups are closed where they were opened
    except re.error as error:
        raise ValueError(f"a string's pattern is none: {error}: {_shown(pattern)}") from None
    inner = re.sub(r"\[[^]]*\]|\\d", lambda found: _digits(found[0]), inner)
    return f'"({inner})"'


def _digits(part):
    r"""A class, or \d, with its \d written out: Rust's are those of all scripts."""
    return part.replace(r"\d", "0-9") if part.startswith("[") else "[0-9]"


def _constants(name, values, types):
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{name} is a list of values: {_shown(values)}")
    if types:
        values = [one for one in values if any(_IS_OF_TYPE[kind](one) for kind in types)]
    return _either([_literal(value) for value in values])


def _types(schema):
    """The names in "type"; () where there is none."""
    given = schema.get("type", ())
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not all(name in list(_IS_OF_TYPE) for name in names):
        raise ValueError(f"type is of {', '.join(_IS_OF_TYPE)}: {_shown(given)}")
    return names


def _guess(keys):
    """The types that keywords are of, where "type" is missing; all where there are none."""
    kinds = [kind for kind, of_kind in _OF_TYPES.items() if of_kind & keys]
    return [kind for kind in kinds if kind != "integer"] or [None]  # an integer is a number


def _check_shapes(schema):
    """Raises a ValueError unless what holds other schemas, or names, is of its type."""
    if not isinstance(schema.get("properties", {}), Mapping):
        raise ValueError(f"properties is an object: {_shown(schema['properties'])}")
    for name in ("required", "prefixItems"):
        if not isinstance(schema.get(name, []), list | tuple):
            raise ValueError(f"{name} is a list: {_shown(schema[name])}")
    for name in schema.get("required", ()):
        if not isinstance(name, str):
            raise ValueError(f"required is a list of names: {_shown(name)}")


def _bounds(schema, least, most):
    """(int, int or None)."""
    values = schema.get(least, 0), schema.get(most)
    for name in (least, most):
        if name in schema and (type(schema[name]) is not int or schema[name] < 0):
            raise ValueError(f"{name} is a whole number: {_shown(schema[name])}")
    if values[1] is not None and values[0] > values[1]:
        raise ValueError(f"{least} is above {most}")
    return values


def _repeated(pattern, least, most):
    return f"({pattern}){{{least},{'' if most is None else most}}}"


def _pair(value):
    return f"{_SCALARS['string']}: ?{value}"


def _list_of(pattern):
    return f"{pattern}(, ?{pattern})*"


def _either(patterns):
    """One of those that are there; None where none is."""
    there = list(dict.fromkeys(one for one in patterns if one is not None))
    return f"({'|'.join(there)})" if len(there) != 1 else there[0] if there else None


def _literal(value):
    """A value's JSON, whose characters stand for themselves."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return re.sub(r"([\\.+*?()|\[\]{}^$#&~-])", r"\\\1", text)


def _refuse(keys, where):
    for name in sorted(keys):
        raise ValueError(f"{_shown(name)} {where} is not done".replace("  ", " "))


def _shown(value):
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
