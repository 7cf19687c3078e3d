"""Calls of tools as regular expressions: of a model that is to make one, and of one whose calls are all to be right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfalign.text.json_patterns import json_pattern
from tfalign.tools.formats import Call, CallFormat, HermesFormat, LlamaFormat

# of a tool that does not say which arguments it takes: it takes none, as OpenAI has it
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "additionalProperties": False}


def call_pattern(schemas: Sequence[Mapping[str, Any]], call_format: CallFormat) -> str:
    r"""The regular expression of one call of one of some tools.

    What matches is read by the format as one ``Call``, whose arguments are of the tool's parameters.

    Args:
        schemas: of the tools, as ``schema_of`` makes them; see ``json_pattern`` for what their parameters may say.
        call_format: one that writes arguments as JSON, Hermes' or Llama's.

    Returns:
        str, in the syntax of Rust's ``regex``.

    Raises:
        ValueError: if there is no tool, a tool's parameters are refused, or the format writes no JSON.

    >>> from tfalign.tools import FORMATS
    >>> call_pattern([{"type": "function", "function": {"name": "now"}}], FORMATS["llama"])
    '(\\{"name":\\ "now",\\ "parameters":\\ \\{\\}\\})'
    """
    if not schemas:
        raise ValueError("A call is of a tool. Received: no tool")
    return f"({'|'.join(_pattern(schema['function'], call_format) for schema in schemas)})"


def turn_pattern(schemas: Sequence[Mapping[str, Any]], call_format: CallFormat) -> str:
    """The regular expression of turns with whatever calls of some tools, or none.

    All that the format reads as a call in what matches is one, as ``call_pattern`` has it. A turn without a call is
    any text that cannot be taken for one: Llama's begins with no space, "{" or "<".

    Args:
        schemas, call_format: see ``call_pattern``.

    Raises:
        ValueError: as ``call_pattern``.
    """
    call = call_pattern(schemas, call_format)
    return _TURNS[type(call_format)](call)


def _hermes_turn(call):
    mark = HermesFormat.OPEN  # whose first character stands nowhere else in it
    parts = [re.escape(mark[:size]) for size in range(1, len(mark))]
    left = [f"{part}[^<{re.escape(mark[size])}]" for size, part in enumerate(parts, start=1)]
    begun = f"({'|'.join(parts)})*"
    text = f"([^<]|{begun}({'|'.join(left)}))*{begun}"
    return f"{text}({call}{text})*"


def _llama_turn(call):
    return rf"(([^\s\x1C-\x1F{{<][^\x00]*)?|{call}(; {call})*)"


_TURNS = {HermesFormat: _hermes_turn, LlamaFormat: _llama_turn}


def _pattern(function, call_format):
    name, parameters = function["name"], function.get("parameters", _NO_PARAMETERS)
    before, arguments, after = call_format.write([Call(name, {})]).partition("{}")
    if not arguments:
        raise ValueError(
            "the pattern of a call is known where its arguments are JSON; the model's calls are Python"
            f" ({type(call_format).__name__})"
        )
    if not isinstance(parameters, Mapping) or parameters.get("type") != "object":
        raise ValueError(f'the parameters of {name} are of "type": "object"')
    try:
        arguments = json_pattern(parameters)
    except ValueError as error:
        raise ValueError(f"the parameters of {name}: {error}") from None
    return re.escape(before) + arguments + re.escape(after)
