"""Conversation memory within a token budget: the last turns as they were, of those before a summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tfalign.text import Message

SUMMARY = 0.25  # fraction of the budget that turns leave to the summary where they can
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")


class ConversationMemory:
    """Shortens conversations to a budget.

    Args:
        count: ``list of Message -> int``, tokens as the model reads them, such as of the chat template.
        budget: int, tokens that the conversation may take.
        summarise: ``(messages that fell out, characters) -> str``; ``telling_sentences`` where None. A model may do it.
        title: what stands before the summary.

    >>> memory = ConversationMemory(lambda messages: sum(len(m.content) for m in messages), budget=80)
    >>> talk = [Message("user", "I am Mia. Order 147 is late."), Message("assistant", "Sorry! I will look into it now.")]
    >>> talk = talk + [Message("user", "And?"), Message("assistant", "It comes on Monday."), Message("user", "Good.")]
    >>> [message.content for message in memory(talk)]
    ['Earlier: I am Mia. Order 147 is late.', 'And?', 'It comes on Monday.', 'Good.']
    """

    def __init__(
        self,
        count: Callable[[Sequence[Message]], int],
        budget: int,
        summarise: Callable[[Sequence[Message], int], str] | None = None,
        title: str = "Earlier: ",
    ) -> None:
        self._count = count
        self._budget = budget
        self._summarise = telling_sentences if summarise is None else summarise
        self._title = title

    def __call__(self, messages: Sequence[Message]) -> list[Message]:
        """A conversation that fits: system messages, a summary as one more of them, and the last turns, from a user's
        turn on; all of it where all of it fits.

        Args:
            messages: list of Message, oldest first; the last is to be answered.

        Raises:
            ValueError: if the last message does not fit even alone.
        """
        messages = list(messages)
        if self._fits(messages):
            return messages
        system = [message for message in messages if message.role == "system"]
        turns = [message for message in messages if message.role != "system"]
        begins = [i for i, message in enumerate(turns) if message.role == "user"] or [0]
        for budget in (self._budget * (1 - SUMMARY), self._budget):
            for begin in begins:
                if self._count([*system, *turns[begin:]]) <= budget:
                    return self._with_summary(system, turns[:begin], turns[begin:])
        raise ValueError(
            f"The last message does not fit the budget. Received: {self._count([*system, *turns[begins[-1] :]])} "
            f"tokens, budget={self._budget}"
        )

    def _with_summary(self, system, lost, kept):
        """The messages with the longest summary that fits, if any does."""
        length = sum(len(message.content) for message in lost)
        while length >= 16:
            text = self._summarise(lost, length)
            summed = [*system, Message("system", self._title + text), *kept]
            if text and self._fits(summed):
                return summed
            length //= 2
        return [*system, *kept]

    def _fits(self, messages):
        return self._count(messages) <= self._budget


def telling_sentences(messages: Sequence[Message], characters: int) -> str:
    """A summary without a model: what users said, first sentences with a number or a name in them, in their order.

    Args:
        messages: list of Message.
        characters: int, at most.

    >>> telling_sentences([Message("user", "Hello there. Order 147 is late. It is odd.")], 20)
    'Order 147 is late.'
    """
    said = [m.content for m in messages if m.role == "user"]
    sentences = [s.strip() for text in said for s in _SENTENCE.findall(text) if s.strip()]
    by_use = sorted(range(len(sentences)), key=lambda i: (-_telling(sentences[i]), i))
    chosen, left = [], characters
    for index in by_use:
        if len(sentences[index]) <= left:
            chosen.append(index)
            left -= len(sentences[index]) + 1
    return " ".join(sentences[index] for index in sorted(chosen))


def _telling(sentence):
    """Numbers, and words with a capital that do not begin the sentence."""
    return len(re.findall(r"\d+", sentence)) + len(re.findall(r"(?<=\s)[A-Z]\w+", sentence))
