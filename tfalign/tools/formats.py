"""How a model writes a call of a tool, and how its text is read.

Hermes and Qwen write JSON between marks; Llama 3.1 writes nothing but JSON; Llama 3.2 and 4 write Python.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_SPACES = re.compile(r"\s*")
_PYTHON_TAG = "<|python_tag|>"


class Call(NamedTuple):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


class BadCall(NamedTuple):
    """What was meant as a call and is none."""

    text: str
    problem: str


class CallFormat(Protocol):
    """A way of writing calls."""

    def read(self, text: str) -> list[Call | BadCall]:
        """The calls in a turn's text, in order; none where it is an answer."""

    def write(self, calls: Sequence[Call]) -> str:
        """A turn that makes these calls."""

    def beside(self, text: str) -> str:
        """What a turn that makes calls says beside them, without the spaces around it."""

    def results(self, texts: Sequence[str]) -> str:
        """What the model reads next, without a chat template."""


class HermesFormat:
    """Hermes 2 Pro, Qwen 2.5 and 3: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``.

    >>> HermesFormat().read('Let me see. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    [Call(name='add', arguments={'a': 1})]

    Attributes:
        OPEN: str, the mark that begins a call.
    """

    OPEN = _OPEN

    def read(self, text: str) -> list[Call | BadCall]:
        """See ``CallFormat``; a mark that is never closed ends with the text."""
        return [_of_json(inside, "arguments") for _, inside, _ in _in_marks(text)]

    def write(self, calls: Sequence[Call]) -> str:
        """See ``CallFormat``."""
        return "\n".join(f"{_OPEN}\n{_to_json(call, 'arguments')}\n{_CLOSE}" for call in calls)

    def beside(self, text: str) -> str:
        """See ``CallFormat``."""
        parts, begin = [], 0
        for start, _, end in _in_marks(text):
            parts.append(text[begin:start].strip())
            begin = end
        return "\n".join(filter(None, [*parts, text[begin:].strip()]))

    def results(self, texts: Sequence[str]) -> str:
        """See ``CallFormat``."""
        return "".join(f"\n<tool_response>\n{text}\n</tool_response>" for text in texts) + "\n"


class LlamaFormat:
    """Llama 3.1: a turn of ``{"name": ..., "parameters": {...}}`` and nothing else; several with ``;`` between.

    >>> LlamaFormat().read('{"name": "add", "parameters": {"a": 1}}')
    [Call(name='add', arguments={'a': 1})]
    >>> LlamaFormat().read("It is 3.")
    []
    """

    def read(self, text: str) -> list[Call | BadCall]:
        """See ``CallFormat``."""
        text = text.strip().removeprefix(_PYTHON_TAG).strip()
        if not (text.startswith("{") and '"name"' in text):
            return []
        return [_of_json(part, "parameters") for part in _split_json(text)]

    def write(self, calls: Sequence[Call]) -> str:
        """See ``CallFormat``."""
        return "; ".join(_to_json(call, "parameters") for call in calls)

    def beside(self, text: str) -> str:
        """See ``CallFormat``; the whole turn is its calls."""
        return ""

    def results(self, texts: Sequence[str]) -> str:
        """See ``CallFormat``."""
        return "\n" + "\n".join(texts) + "\n"


class PythonFormat:
    """Llama 3.2 and 4: ``[add(a=1, b=2), search(query="x")]``, arguments by name and literal.

    >>> PythonFormat().read('[add(a=1, b=[2, -3])]')
    [Call(name='add', arguments={'a': 1, 'b': [2, -3]})]
    >>> PythonFormat().read("[1, 2]")
    []
    """

    def read(self, text: str) -> list[Call | BadCall]:
        """See ``CallFormat``."""
        text = text.strip().removeprefix(_PYTHON_TAG).strip()
        if not re.match(r"\[\s*[A-Za-z_][\w.]*\(", text):
            return []
        try:
            calls = ast.parse(text, mode="eval").body.elts
        except (SyntaxError, ValueError, AttributeError, MemoryError, RecursionError):
            return [BadCall(text, "it is not a list of calls")]
        return [self._of_node(node, text) for node in calls]

    def write(self, calls: Sequence[Call]) -> str:
        """See ``CallFormat``."""
        written = (
            f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"
            for call in calls
        )
        return f"[{', '.join(written)}]"

    def beside(self, text: str) -> str:
        """See ``CallFormat``; the whole turn is its calls."""
        return ""

    def results(self, texts: Sequence[str]) -> str:
        """See ``CallFormat``."""
        return "\n" + "\n".join(texts) + "\n"

    def _of_node(self, node, text):
        part = ast.get_source_segment(text, node) or text
        if not isinstance(node, ast.Call) or node.args:
            return BadCall(part, "arguments are given by name")
        if any(keyword.arg is None for keyword in node.keywords):
            return BadCall(part, "arguments are given by name")
        try:
            values = {key.arg: ast.literal_eval(key.value) for key in node.keywords}
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return BadCall(part, "an argument is not a literal")
        return Call(ast.unparse(node.func), values)


FORMATS: dict[str, CallFormat] = {
    "hermes": HermesFormat(),
    "llama": LlamaFormat(),
    "python": PythonFormat(),
}


def format_of(chat_template: str | None) -> CallFormat:
    """The format that a chat template tells a model to write calls in; Hermes' where it does not say.

    >>> type(format_of('Respond as {"name": ..., "parameters": ...}')).__name__
    'LlamaFormat'
    """
    template = chat_template or ""
    if _OPEN in template:
        return FORMATS["hermes"]
    if '"parameters": ' in template:
        return FORMATS["llama"]
    return FORMATS["python" if "func_name1(" in template else "hermes"]


def _in_marks(text):
    """Yields (begin, what stands between the marks, end) of every call; texts in its JSON may hold the marks."""
    begin = text.find(_OPEN)
    while begin >= 0:
        inside = begin + len(_OPEN)
        closed = _behind_json(text, inside)
        if not text.startswith(_CLOSE, closed):
            closed = text.find(_CLOSE, inside)
        closed = closed if closed >= 0 else len(text)
        end = min(closed + len(_CLOSE), len(text))
        yield begin, text[inside:closed], end
        begin = text.find(_OPEN, end)


def _behind_json(text, begin):
    """Where what follows a text's JSON begins; the text's end where it has none."""
    try:
        _, end = json.JSONDecoder().raw_decode(text, _SPACES.match(text, begin).end())
    except (ValueError, RecursionError):
        return len(text)
    return _SPACES.match(text, end).end()


def _of_json(text, key):
    text = text.strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadCall(text, f"it is not JSON ({error})")
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return BadCall(text, 'it is no object with a "name"')
    arguments = found.get(key, {})
    if not isinstance(arguments, dict):
        return BadCall(text, f'its "{key}" are no object')
    return Call(found["name"], arguments)


def _to_json(call, key):
    return json.dumps({"name": call.name, key: call.arguments}, ensure_ascii=False)


def _split_json(text):
    """The objects of a text with ``;`` between them; the rest as it is where one cannot be read."""
    decoder, begin = json.JSONDecoder(), 0
    while begin < len(text):
        try:
            _, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            end = len(text)
        yield text[begin:end]
        begin = end + len(text[end:]) - len(text[end:].lstrip("; \n"))
