"""Turns of conversations, as they are written in the field: OpenAI's, ShareGPT's, and what tools add to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfalign.data.readers.values import as_list, is_list, read_text, shown, without_none
from tfalign.data.records import BadRecordError
from tfalign.text import ASSISTANT, DetailedMessage, Message

_MESSAGE_KEYS = (("role", "content"), ("from", "value"))  # as OpenAI and as ShareGPT write one
_ROLES = {"human": "user", "gpt": ASSISTANT}
_CALLS, _RESULTS = "function_call", ("observation", "function_response")  # ShareGPT's with tools


def read_message(value: Any, column: str, where: str) -> Message | DetailedMessage:
    """A turn: ``{"role": ..., "content": ...}`` or ``{"from": ..., "value": ...}``, with what else it has.

    The content is a text, a list of OpenAI's parts of the type "text", which are joined as they stand, or null where the
    turn calls tools. Fields that are null are none. Arguments of calls that are texts, as OpenAI has them, become
    objects, which chat templates want. ShareGPT's turns of "function_call" and "observation" become calls and results.

    Raises:
        BadRecordError: if it is no turn; naming the field that is not what it must be.
    """
    if isinstance(value, (Message, DetailedMessage)):
        return value
    for keys in _MESSAGE_KEYS if isinstance(value, Mapping) else ():
        if keys[0] in value and (keys[1] in value or value.get("tool_calls")):
            return _message(without_none(value), *keys, column, where)
    raise BadRecordError(
        where,
        f"the field {column!r} must be a message with role and content. Received: {shown(value)}",
    )


def read_tools(value: Any, where: str) -> list[dict[str, Any]]:
    """The column "tools" of a conversation: a list of JSON schemas of functions, or the JSON text of one.

    Raises:
        BadRecordError: if it is something else.
    """
    value = as_list(_of_json(value) if isinstance(value, str) else value)
    if not is_list(value) or not all(isinstance(one, Mapping) for one in value):
        raise BadRecordError(
            where,
            f"the column 'tools' must be a list of functions' JSON schemas. Received: {shown(value)}",
        )
    return without_none(value)


def _message(fields, role, content, column, where):
    """A turn whose fields are not None."""
    said_by = read_text(fields.get(role), f"{column}.{role}", where)
    details = {name: one for name, one in fields.items() if name not in (role, content)}
    if content == "value" and said_by == _CALLS:
        return _called(fields.get(content), column, where)
    if content == "value" and said_by in _RESULTS:
        said_by = "tool"
    calls = [_call(one, f"{column}.tool_calls", where) for one in details.get("tool_calls", ())]
    words = _content(fields.get(content), bool(calls), f"{column}.{content}", where)
    if "tool_calls" in details:
        details["tool_calls"] = calls
    details = {name: one for name, one in details.items() if one not in ("", [], {})}
    said_by = _ROLES.get(said_by, said_by)
    return (
        DetailedMessage(said_by, words, _json(details, column, where))
        if details
        else Message(said_by, words)
    )


def _content(value, may_be_empty, column, where):
    parts = as_list(value)
    if is_list(parts):
        value = "".join(_part(part, f"{column}[{at}]", where) for at, part in enumerate(parts))
    if may_be_empty and value in (None, ""):
        return ""
    return read_text(value, column, where)


def _part(part, column, where):
    """The text of one of OpenAI's content parts."""
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if kind != "text" or not isinstance(part.get("text"), str):
        raise BadRecordError(
            where, f"the field {column!r} must be a part of the type text. Received: {shown(part)}"
        )
    return part["text"]


def _call(call, column, where):
    """A call of a tool, its arguments an object."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadRecordError(
            where, f"the field {column!r} must be calls of functions. Received: {shown(call)}"
        )
    arguments = function.get("arguments", {})
    read = _of_json(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(read, Mapping):
        raise BadRecordError(
            where,
            f"the arguments in {column!r} must be an object, or its JSON. Received: {shown(arguments)}",
        )
    function = {**function, "arguments": read}
    return {**call, "function": function} if "function" in call else {"function": function}


def _called(value, column, where):
    """ShareGPT's turn of calls, a JSON text: one call or a list of them."""
    calls = _of_json(value) if isinstance(value, str) else value
    calls = [_call(one, column, where) for one in (calls if is_list(calls) else [calls])]
    typed = [{"type": "function", **call} for call in calls]
    return DetailedMessage(ASSISTANT, "", _json({"tool_calls": typed}, column, where))


def _of_json(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _plain(value):
    """NumPy's values as Python's, as TensorFlow Datasets give them."""
    return value.decode() if isinstance(value, bytes) else value.tolist()


def _json(fields, column, where):
    try:
        return json.dumps(fields, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, AttributeError, RecursionError):
        raise BadRecordError(
            where, f"the field {column!r} must be made of JSON's types. Received: {shown(fields)}"
        ) from None
