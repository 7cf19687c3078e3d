"""Conversations to tokens, by a chat template: a program that comes with a model, and runs in ``Workers``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tfalign.serving.requests import RefusedError
from tfalign.serving.workers import Workers, answer_lines
from tfalign.text import Message, Tokenizer, encode_conversation

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
        self._workers = Workers(__name__, tokenizer, _NAME, seconds, (most_tokens,), processes)

    async def start(self) -> None:
        """Starts the processes, if the tokenizer has a chat template."""
        if self._has_template:
            await self._workers.start()

    async def stop(self) -> None:
        """Ends the processes."""
        await self._workers.stop()

    async def encode(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """The ids of a conversation that waits for the assistant, and how many there are.

        Raises:
            RefusedError: 400 if the template refuses it or takes too long, 503 if others do.
        """
        if not self._has_template:
            raise RefusedError(400, "The model has no chat template, so it takes no messages.")
        answer = await self._workers.ask(messages)
        return answer["token_ids"], answer["count"]


def _answer(tokenizer, messages, most_tokens):
    messages = tuple(Message(*message) for message in messages)
    token_ids = encode_conversation(tokenizer, messages, open_ended=True).token_ids
    return {
        "token_ids": token_ids if len(token_ids) <= most_tokens else [],
        "count": len(token_ids),
    }


def _serve(directory, seconds, most_tokens):
    tokenizer = Tokenizer.load(directory)
    answer_lines(lambda messages: _answer(tokenizer, messages, most_tokens), _NAME, seconds)


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
