"""The assistant's message that a response's text is, with the calls of tools in it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from typing import Any

from tfalign.serving.json_texts import read_object
from tfalign.tools import BadCall, Call, CallFormat


def assistant_message(text: str, call_format: CallFormat, names: Collection[str]) -> dict[str, Any]:
    """A message as OpenAI has it.

    Where all calls in the text are calls of the tools, they are "tool_calls", and "content" is what stands beside
    them, None if nothing does. Where one is not (it cannot be read, there is no such tool, its arguments are nothing
    that a client could send back), all of the text is "content".

    Args:
        text: str, the response.
        call_format: CallFormat, the model's.
        names: of the tools.

    >>> from tfalign.tools import FORMATS
    >>> assistant_message("It is 3.", FORMATS["llama"], ["add"])
    {'role': 'assistant', 'content': 'It is 3.'}
    >>> message = assistant_message('{"name": "add", "parameters": {"a": 1}}', FORMATS["llama"], ["add"])
    >>> message["content"], message["tool_calls"][0]["function"]
    (None, {'name': 'add', 'arguments': '{"a": 1}'})
    """
    try:
        calls = [_tool_call(call, names) for call in call_format.read(text)]
    except ValueError:
        calls = []
    if not calls:
        return {"role": "assistant", "content": text}
    return {
        "role": "assistant",
        "content": call_format.beside(text) or None,
        "tool_calls": calls,
    }


def message_delta(message: dict[str, Any]) -> dict[str, Any]:
    """What a stream adds to the empty message of the assistant, so that it becomes this one."""
    delta = {} if message["content"] is None else {"content": message["content"]}
    if "tool_calls" in message:
        calls = enumerate(message["tool_calls"])
        delta["tool_calls"] = [{"index": place} | call for place, call in calls]
    return delta


def _tool_call(call: Call | BadCall, names: Collection[str]) -> dict[str, Any]:
    if isinstance(call, BadCall) or call.name not in names:
        raise ValueError(f"No call of a tool. Received: {call}")
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    read_object(arguments, "call")
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
