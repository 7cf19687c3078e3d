"""What a model is told of a function."""

from __future__ import annotations

from typing import Literal, Optional

import jsonschema
import pytest

from tfalign.tools import schema_of


def weather(
    city: str,
    days: int = 1,
    unit: Literal["celsius", "fahrenheit"] = "celsius",
    points: Optional[list[float]] = None,  # noqa: UP045 (a spelling that people use)
    named: dict[str, int] | None = None,
    at: int | str = 0,
) -> str:
    """
    The weather of the next days.

    Args:
        city: Where,
            in English.
        days: How many days.
        unit: The unit.
        points: Coordinates.
        named: Names.
        at: When.

    Returns:
        What it says.
    """


def ping() -> bool:
    """Says whether anybody is there."""


def test_it_is_that_of_transformers():
    """Worked by hand; ``transformers.utils.get_json_schema`` (5.x) returns the same."""
    assert schema_of(weather) == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of the next days.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where, in English."},
                    "days": {"type": "integer", "description": "How many days."},
                    "unit": {
                        "type": "string",
                        "enum": ["celsius", "fahrenheit"],
                        "description": "The unit.",
                    },
                    "points": {
                        "type": "array",
                        "items": {"type": "number"},
                        "nullable": True,
                        "description": "Coordinates.",
                    },
                    "named": {
                        "type": "object",
                        "additionalProperties": {"type": "integer"},
                        "nullable": True,
                        "description": "Names.",
                    },
                    "at": {"type": ["integer", "string"], "description": "When."},
                },
                "required": ["city"],
            },
            "return": {"type": "string", "description": "What it says."},
        },
    }
    assert schema_of(ping)["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize("function", [weather, ping])
def test_it_is_a_json_schema(function):
    jsonschema.Draft202012Validator.check_schema(schema_of(function)["function"]["parameters"])


def no_docstring(a: int): ...


def no_hint(a):
    """Does.

    Args:
        a: a number.
    """


def not_told(a: int):
    """Does."""


def many(*a: int):
    """Does.

    Args:
        a: numbers.
    """


def of_objects(a: object):
    """Does.

    Args:
        a: anything.
    """


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_docstring, "docstring that says what it does. Received: no_docstring"),
        (no_hint, r"has a type hint. Received: no_hint\(a\)"),
        (not_told, r"described in its docstring. Received: not_told\(a\)"),
        (many, r"named parameters alone. Received: many\(\*a"),
        (of_objects, "The type hint of a has no JSON"),
    ],
)
def test_what_has_no_schema_is_told(function, message):
    with pytest.raises(ValueError, match=message):
        schema_of(function)
