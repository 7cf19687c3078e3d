"""What a model is told of a Python function: its JSON schema, from type hints and docstring.

The form is that of OpenAI's "tools", and of ``transformers.utils.get_json_schema``.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

_NULL = {"type": "null"}


def schema_of(function: Callable) -> dict[str, Any]:
    """The JSON schema of a function, as chat templates show it to a model.

    Args:
        function: with a type hint for every parameter, and a docstring in Google's style that describes the
            function and every parameter.

    Returns:
        dict, {"type": "function", "function": {"name", "description", "parameters"[, "return"]}}; a parameter that
        may be None is "nullable", one with a default is not "required".

    Raises:
        ImportError: if docstring-parser or msgspec is not installed.
        ValueError: if a hint or a description is missing, a hint has no JSON, or there are ``*args`` or ``**kwargs``.

    >>> def multiply(a: int, b: int = 1) -> int:
    ...     \"\"\"Multiplies two numbers.
    ...
    ...     Args:
    ...         a: the first.
    ...         b: the second.
    ...     \"\"\"
    ...     return a * b
    >>> schema_of(multiply)["function"]["parameters"]["required"]
    ['a']
    """
    docstring_parser = _library("docstring_parser")
    name = getattr(function, "__name__", type(function).__name__)
    docstring = docstring_parser.parse(
        inspect.getdoc(function) or "", docstring_parser.DocstringStyle.GOOGLE
    )
    description = (docstring.description or "").strip()
    if not description:
        raise ValueError(
            f"A tool has a docstring that says what it does. Received: {name} without one"
        )
    told = {part.arg_name: _line(part.description) for part in docstring.params}
    shown = {"name": name, "description": description, "parameters": _parameters(function, told)}
    returned = _hints(function).get("return")
    if returned is not None:
        shown["return"] = _json_of(returned, name, "return")
        if docstring.returns and docstring.returns.description:
            shown["return"]["description"] = _line(docstring.returns.description)
    return {"type": "function", "function": shown}


def arguments_type(function: Callable) -> type:
    """The ``msgspec.Struct`` that a function's arguments are converted to.

    Raises:
        ValueError: if a parameter has no type hint, or no name.
    """
    name, hints = function.__name__, _hints(function)
    fields = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"A tool has named parameters alone. Received: {name}({parameter})")
        if parameter.name not in hints:
            raise ValueError(
                f"Every parameter of a tool has a type hint. Received: {name}({parameter})"
            )
        is_required = parameter.default is parameter.empty
        absent = () if is_required else (_library("msgspec").UNSET,)
        fields.append((parameter.name, hints[parameter.name], *absent))
    options = {"kw_only": True, "forbid_unknown_fields": True}
    return _library("msgspec").defstruct(name, fields, **options)


def _parameters(function, told):
    properties = {}
    fields = _library("msgspec").structs.fields(arguments_type(function))
    for field in fields:
        if not told.get(field.name):
            raise ValueError(
                "Every parameter of a tool is described in its docstring. "
                f"Received: {function.__name__}({field.name})"
            )
        properties[field.name] = _json_of(field.type, function.__name__, field.name)
        properties[field.name]["description"] = told[field.name]
    required = [field.name for field in fields if field.required]
    schema = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


def _hints(function):
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        raise ValueError(f"A type hint of {function.__name__} is not known: {error}") from None


def _json_of(hint, name, parameter):
    try:
        schema = _library("msgspec").json.schema(hint)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The type hint of {parameter} has no JSON. Received: {name}({parameter}: {hint}): "
            f"{str(error).splitlines()[0]}"
        ) from None
    return _nullable(schema)


def _line(text):
    return " ".join((text or "").split())


def _nullable(schema):
    """{"anyOf": [x, null]} as {**x, "nullable": true}, throughout, and {"anyOf": [{"type": x} ...]} as {"type": [x ...]}."""
    if isinstance(schema, list):
        return [_nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _nullable(part) for key, part in schema.items()}
    if all(isinstance(choice, str) for choice in kept.get("enum", [None])):
        kept = {"type": "string"} | kept
    if kept.get("anyOf") and all(
        part.keys() == {"type"} and part != _NULL for part in kept["anyOf"]
    ):
        return {"type": [part["type"] for part in kept["anyOf"]]}
    others = [part for part in kept.get("anyOf", ()) if part != _NULL]
    if len(others) == 1 and len(kept["anyOf"]) == 2:
        return (
            {key: part for key, part in kept.items() if key != "anyOf"}
            | others[0]
            | {"nullable": True}
        )
    return kept


def _library(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "Tools need docstring-parser and msgspec: pip install tfalign[tools]"
        ) from error
