"""Forms that clients ask responses to have, JSON of a schema or calls of tools, compiled in ``Workers`` and kept."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import json
import sys

import numpy as np

from tfalign.functional.automata import NEVER, trimmed
from tfalign.serving.grammar import Grammar
from tfalign.serving.requests import RefusedError
from tfalign.serving.workers import Workers, answer_lines
from tfalign.text import Tokenizer, tool_template
from tfalign.text.byte_automata import compile_pattern, lift
from tfalign.text.json_patterns import json_pattern
from tfalign.text.token_bytes import text_pieces
from tfalign.tools import call_pattern, format_of, turn_pattern

_NAME = "schema of response_format or tools"
_MOST_ENTRIES = 4_000_000  # of a grammar's table: 16 MB
_TABLES = ("next_states", "kinds", "accepting", "distances")


class Grammars:
    """Forms to Grammars for an event loop. The process that compiles starts with the first form.

    Args:
        tokenizer: ``tfalign.text.Tokenizer``.
        vocab_size: int, the model's.
        seconds: float, a form may take, and may wait for others.
        most_bytes: int, of the Grammars that are kept; those go first that were not asked for the longest.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, seconds: float, most_bytes: int = 1 << 26
    ) -> None:
        self._workers = Workers(__name__, tokenizer, _NAME, seconds, (vocab_size,))
        self._stop_tokens = tuple(tokenizer.stop_ids)
        self._most_bytes = most_bytes
        self._kept: dict[str, Grammar] = {}
        self._being_made: dict[str, asyncio.Task] = {}

    async def stop(self) -> None:
        """Ends the process."""
        await self._workers.stop()

    async def of(self, form: str) -> Grammar:
        """The Grammar of a form; who asks for one that is being made waits for it.

        Args:
            form: JSON text, {"schema": a JSON schema}, {"call": [schemas of tools]} for one call of one of them, or
                {"turn": [schemas of tools]} for any text whose calls are such.

        Raises:
            RefusedError: 400 if the form is refused or takes too much, 503 if others do, 501 without outlines-core.
        """
        if importlib.util.find_spec("outlines_core") is None:
            raise RefusedError(
                501,
                "response_format, tool_choice and strict tools need pip install tfalign[constraints].",
                "server_error",
            )
        grammar = self._kept.pop(form, None)
        if grammar is None:
            if form not in self._being_made:
                task = asyncio.create_task(self._make(form))
                task.add_done_callback(lambda _: self._being_made.pop(form))
                self._being_made[form] = task
            grammar = await asyncio.shield(self._being_made[form])
        self._keep(form, grammar)
        return grammar

    async def _make(self, form):
        answer = await self._workers.ask(form)
        return await asyncio.to_thread(_unpacked, answer["tables"], self._stop_tokens)

    def _keep(self, form, grammar):
        self._kept.pop(form, None)
        self._kept[form] = grammar  # the last is who was asked for last
        while sum(kept.num_bytes for kept in self._kept.values()) > self._most_bytes:
            del self._kept[next(iter(self._kept))]


def compile_form(form: str, tokenizer: Tokenizer, vocab_size: int) -> Grammar:
    """The Grammar of a form.

    Args:
        form: see ``Grammars.of``, ``text.json_patterns`` and ``tools.call_pattern``.
        tokenizer: see ``text.token_bytes``; its ``stop_ids`` end a response, its chat template says how calls are
            written.
        vocab_size: int, the model's.

    Raises:
        ValueError: if the form is refused, has no text in these tokens, or is too large.
        ImportError: without outlines-core.
    """
    ((kind, given),) = json.loads(form).items()
    name, pattern_of = _KINDS[kind]
    pieces = text_pieces(tokenizer)
    try:
        steps, accepting = compile_pattern(pattern_of(given, tokenizer))
    except ValueError as error:
        raise ValueError(f"The {name} is refused: {error}") from None
    columns, kinds = lift(steps, pieces, vocab_size)
    table, accepting, distances = trimmed(columns, accepting)
    if distances[0] == NEVER:
        raise ValueError(f"The {name} is refused: the model's tokens write no such text")
    if table.size > _MOST_ENTRIES:
        states, columns = table.shape
        raise ValueError(
            f"The {name} is too large: {states} states, in which {columns} kinds of tokens differ"
        )
    return Grammar(table, kinds, accepting, distances, tuple(tokenizer.stop_ids))


# of forms: (what a client calls it, (value, tokenizer) -> regular expression)
_KINDS = {
    "schema": ("schema of response_format", lambda schema, _: json_pattern(schema)),
    "call": (
        "schema of tools",
        lambda tools, tokenizer: call_pattern(tools, format_of(tool_template(tokenizer))),
    ),
    "turn": (
        "schema of tools",
        lambda tools, tokenizer: turn_pattern(tools, format_of(tool_template(tokenizer))),
    ),
}


def _packed(grammar):
    """str, its tables."""
    written = io.BytesIO()
    np.savez_compressed(written, **{name: getattr(grammar, name) for name in _TABLES})
    return base64.b64encode(written.getvalue()).decode()


def _unpacked(tables, stop_tokens):
    read = np.load(io.BytesIO(base64.b64decode(tables)))
    return Grammar(**{name: read[name] for name in _TABLES}, stop_tokens=stop_tokens)


def _serve(directory, seconds, vocab_size):
    tokenizer = Tokenizer.load(directory)
    answer_lines(
        lambda form: {"tables": _packed(compile_form(form, tokenizer, vocab_size))},
        _NAME,
        seconds,
    )


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
