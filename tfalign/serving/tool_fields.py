"""The fields of a request that concern tools: what there is to call, and whether to call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tfalign.serving.checks import shown
from tfalign.serving.fields import check_there, flag, json_object, only, read_fields, text

_MOST_TOOLS = 128  # as OpenAI has it
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORDS = ("none", "auto", "required")


class ToolUse(NamedTuple):
    """What a request says of tools."""

    tools: tuple[dict[str, Any], ...] = ()  # for the chat template
    may_call: bool = False  # whether calls in the response are read
    form: str | None = None  # of the response, see ``Grammars.of``


def tools(name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """A list of functions' schemas."""
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list. Received: {name}={shown(value)}")
    if len(value) > _MOST_TOOLS:
        raise ValueError(f"{name} may have {_MOST_TOOLS} functions. Received: {len(value)}")
    read = tuple(_tool(f"{name}[{place}]", one) for place, one in enumerate(value))
    names = [one["function"]["name"] for one in read]
    for place, one in enumerate(names):
        if one in names[:place]:
            raise ValueError(f"{name} must have names of their own. Received: {shown(one)} twice")
    return read


def function_name(name: str, value: Any) -> str:
    """A function's name, as OpenAI has it."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(
            f"{name} must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -. Received: {shown(value)}"
        )
    return value


def tool_choice(name: str, value: Any) -> str | tuple[str]:
    """One of three words; or an object with a function's name, which becomes (name,)."""
    if not isinstance(value, dict):
        if value not in _WORDS:
            raise ValueError(
                f"{name} must be one of {', '.join(_WORDS)}, or an object. Received: {shown(value)}"
            )
        return value
    readers = {"type": only("function"), "function": _chosen}
    given = read_fields(value, readers, f"{name}.")
    check_there(given, readers, name)
    return (given["function"]["name"],)


def tool_use(fields: Mapping[str, Any]) -> ToolUse:
    """What a request's fields, read, say of tools together.

    Raises:
        ValueError: if they contradict each other.
    """
    given = fields.get("tools", ())
    choice = fields.get("tool_choice", "auto")
    if not given:
        if choice not in ("none", "auto"):
            raise ValueError(
                f"tool_choice is of tools. Received: {_shown_choice(choice)} and no tools"
            )
        return ToolUse()
    shown_tools = tuple(map(_without_strict, given))
    if choice == "none":
        return ToolUse(shown_tools)
    if fields.get("response_format") is not None:
        raise ValueError(
            "response_format is not done beside tools that may be called. Received: tool_choice="
            f"{_shown_choice(choice)}"
        )
    if choice == "auto":
        return ToolUse(shown_tools, may_call=True, form=_strict_form(given))
    chosen = [
        one for one in shown_tools if choice == "required" or one["function"]["name"] == choice[0]
    ]
    if not chosen:
        raise ValueError(f"tool_choice must name one of tools. Received: {shown(choice[0])}")
    return ToolUse(shown_tools, may_call=True, form=json.dumps({"call": chosen}))


def _shown_choice(choice):
    return choice if isinstance(choice, str) else shown(choice[0])


def _strict_form(given):
    """The form of a response whose calls of strict tools are of their schemas; None where no tool is strict."""
    if not any(map(_is_strict, given)):
        return None
    return json.dumps({"turn": [one if _is_strict(one) else _loose(one) for one in given]})


def _is_strict(tool):
    return tool["function"].get("strict", False)


def _loose(tool):
    return tool | {"function": tool["function"] | {"parameters": {"type": "object"}}}


def _without_strict(tool):
    """A tool as the model sees it."""
    function = {key: value for key, value in tool["function"].items() if key != "strict"}
    return {"type": "function", "function": function}


def _tool(name, value):
    readers = {"type": only("function"), "function": _function}
    tool = read_fields(json_object(name, value), readers, f"{name}.")
    check_there(tool, readers, name)
    return tool


def _function(name, value):
    readers = {
        "name": function_name,
        "description": text,
        "parameters": _parameters,
        "strict": flag,
    }
    function = read_fields(json_object(name, value), readers, f"{name}.")
    check_there(function, ("name",), name)
    return function


def _parameters(name, value):
    if json_object(name, value).get("type") != "object":
        raise ValueError(
            f'{name} must be a JSON schema of "type": "object". Received: {name}={shown(value)}'
        )
    return value


def _chosen(name, value):
    chosen = read_fields(json_object(name, value), {"name": function_name}, f"{name}.")
    check_there(chosen, ("name",), name)
    return chosen
