"""Conversations to tokens, by a chat template: a program that comes with a model, and runs in ``Workers``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tfalign.serving.requests import RefusedError
from tfalign.serving.workers import Workers, answer_lines
from tfalign.text import Tokenizer, encode_conversation, tool_template

_NAME = "chat template"


class ConversationEncoder:
    """``encode_conversation(..., open_ended=True)`` for an event loop.

    Args:
        tokenizer: ``tfalign.text.Tokenizer``.
        seconds: float, a conversation may take, and may wait for others.
        most_tokens: int; of more, no ids are returned.
        processes: int, conversations encoded at once.
    """

    def __init__(
        self, tokenizer: Tokenizer, seconds: float, most_tokens: int, processes: int = 2
    ) -> None:
        self._has_template = tokenizer.chat_template is not None
        self._shows_tools = "tools" in (tool_template(tokenizer) or "")
        self._workers = Workers(__name__, tokenizer, _NAME, seconds, (most_tokens,), processes)

    async def start(self) -> None:
        """Starts the processes, if the tokenizer has a chat template."""
        if self._has_template:
            await self._workers.start()

    async def stop(self) -> None:
        """Ends the processes."""
        await self._workers.stop()

    async def encode(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[int], int]:
        """The ids of a conversation that waits for the assistant, and how many there are.

        Args:
            messages: as ``encode_conversation`` takes them.
            tools: schemas that the template shows.

        Raises:
            RefusedError: 400 if the template refuses it, shows no tools or takes too long, 503 if others do.
        """
        if not self._has_template:
            raise RefusedError(400, "The model has no chat template, so it takes no messages.")
        if tools and not self._shows_tools:
            raise RefusedError(400, "The model's chat template shows no tools, so it takes none.")
        answer = await self._workers.ask({"messages": messages, "tools": tools})
        return answer["token_ids"], answer["count"]


def _answer(tokenizer, asked, most_tokens):
    variables = {"tools": asked["tools"]} if asked["tools"] else {}
    encoded = encode_conversation(tokenizer, asked["messages"], open_ended=True, **variables)
    count = len(encoded.token_ids)
    return {"token_ids": encoded.token_ids if count <= most_tokens else [], "count": count}


def _serve(directory, seconds, most_tokens):
    tokenizer = Tokenizer.load(directory)
    answer_lines(lambda asked: _answer(tokenizer, asked, most_tokens), _NAME, seconds)


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
