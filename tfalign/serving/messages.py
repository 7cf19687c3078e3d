"""The messages of a conversation, as clients send them and as chat templates see them."""

from __future__ import annotations

from typing import Any

from tfalign.serving.checks import shown
from tfalign.serving.fields import Reader, check_there, json_object, only, read_fields, text
from tfalign.serving.json_texts import read_object
from tfalign.serving.tool_fields import function_name


def messages(name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """A list of messages: dicts with "role", "content" and what else a template sees of them.

    The assistant's may have "tool_calls", whose "arguments" become an object, as transformers' users write them. Each
    of these is answered by a message of the role "tool" before anybody else speaks.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} must be a list of messages. Received: {name}={shown(value)}")
    read = tuple(_message(f"{name}[{place}]", message) for place, message in enumerate(value))
    _check_results(name, read)
    return read


def _message(name, value):
    given = json_object(name, value)
    if given.get("role") is None:
        raise ValueError(f"{name} must have role and content. Received: no role")
    readers = _OF_ROLE[_role(f"{name}.role", given["role"])]
    fields = read_fields(given, readers, f"{name}.")
    calls = fields.get("tool_calls")
    there = ("role",) if calls else ("role", "content")
    check_there(fields, (*there, *(("tool_call_id",) if fields["role"] == "tool" else ())), name)
    return {key: one for key, one in fields.items() if one or key not in _SAY_NOTHING}


def _role(name, value):
    roles = list(_OF_ROLE)
    if value not in roles:
        raise ValueError(f"{name} must be one of {', '.join(roles)}. Received: {shown(value)}")
    return value


def _content(name, value):
    """A string, or a list with one text in it, as some clients write it."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        part = read_fields(value[0], {"type": only("text"), "text": text}, f"{name}[0].")
        if len(part) == 2:
            return part["text"]
    if not isinstance(value, str):
        raise ValueError(
            f"{name} must be a string, or a list of one text. Received: {shown(value)}"
        )
    return value


def _tool_calls(name, value):
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list of calls. Received: {name}={shown(value)}")
    calls = [_tool_call(f"{name}[{place}]", call) for place, call in enumerate(value)]
    ids = [call["id"] for call in calls]
    if len(set(ids)) < len(ids):
        raise ValueError(f"{name} must have ids of their own. Received: {shown(ids)}")
    return calls


def _tool_call(name, value):
    readers = {"id": text, "type": only("function"), "function": _called}
    call = read_fields(json_object(name, value), readers, f"{name}.")
    check_there(call, readers, name)
    return call


def _called(name, value):
    readers = {"name": function_name, "arguments": _arguments}
    called = read_fields(json_object(name, value), readers, f"{name}.")
    check_there(called, readers, name)
    return called


def _arguments(name, value):
    return read_object(text(name, value), f"text in {name}")


def _check_results(name, read):
    """Raises a ValueError unless every call has its one result, right behind it."""
    waiting: list[str] = []
    for place, message in enumerate(read):
        if message["role"] == "tool":
            call_id = message["tool_call_id"]
            if call_id not in waiting:
                raise ValueError(
                    f"{name}[{place}].tool_call_id must be the id of a call that the assistant has just made and that"
                    f" has no result yet. Received: {shown(call_id)}"
                )
            waiting.remove(call_id)
            continue
        if waiting:
            break
        waiting = [call["id"] for call in message.get("tool_calls", ())]
    else:
        place = len(read)
    if waiting:
        raise ValueError(
            f"{name}[{place}] must be of the role tool, the result of the call {shown(waiting[0])}."
            f" Received: {'no more messages' if place == len(read) else read[place]['role']}"
        )


_SAY_NOTHING = ("annotations", "tool_calls")
_ANYBODY: dict[str, Reader] = {
    "role": _role,
    "content": _content,
    # what an answer brings along when a client sends it back, at the values that say nothing
    "annotations": only([]),
    "tool_calls": only([]),
}
_OF_ROLE: dict[str, dict[str, Reader]] = {
    "system": _ANYBODY,
    "user": _ANYBODY,
    "assistant": _ANYBODY | {"tool_calls": _tool_calls},
    "tool": _ANYBODY | {"tool_call_id": text},
}
