"""What a brief asks for as a constraint: no text ends before it has said it.

The state is what is still to be said of each slot, and how far a phrase has been read; so one constraint serves all
briefs of a batch, each with demands of its own, within the compiled loop.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from tfalign.text.word_search import word_search
from tfalign.types import Array, Prompts

_LARGEST = 2**31 - 1


class DemandedSlots:
    """A ``decoding.constraints.Constraint``: a stop token may come when each slot of the prompt has been told.

    A slot is told when one of its value's phrases stands in the response, in the very tokens in which the tokenizer
    spells it within a text. The banned phrases never come.

    Args:
        phrases: slot -> value -> phrases that tell it. A prompt asks for a value where it has one of its ``marks``.
        tokenizer: whose ids prompts and responses are; its ``stop_ids`` end a response.
        vocab_size: int, V of the model.
        banned: phrases that must not occur, in the tokens in which they are spelled.

    Raises:
        ValueError: if a value has no phrase, or there are more states than an int32 holds.
    """

    def __init__(
        self,
        phrases: Mapping[str, Mapping[str, Sequence[str]]],
        tokenizer: Any,
        vocab_size: int,
        banned: Iterable[str] = (),
    ) -> None:
        self.phrases = {slot: dict(values) for slot, values in phrases.items()}
        self._stop_ids = tuple(tokenizer.stop_ids)
        self._vocab_size = vocab_size
        sizes = [1 + len(values) for values in self.phrases.values()]
        self._radix = np.cumprod([1, *sizes[:-1]]).astype("int64")
        self._sizes = np.array(sizes)
        self._marks = [
            (slot, number, [self._spelled(tokenizer, one) for one in marks(name, value)])
            for slot, (name, values) in enumerate(self.phrases.items())
            for number, value in enumerate(values, start=1)
        ]
        self._search(tokenizer, list(banned))
        self._nodes = len(self._next)
        if self._nodes * np.prod(self._sizes, dtype="int64") > _LARGEST:
            raise ValueError(
                "The demands of a prompt and the phrases must be fewer than 2^31 states. "
                f"Received: {self._nodes} nodes, slots of {sizes} values"
            )

    def start(self, prompts: Prompts) -> Array:
        """int32[B], see ``Constraint``: all that the prompts ask for is still to be said."""
        token_ids = ops.convert_to_tensor(prompts.token_ids, "int32")
        left = ops.zeros((token_ids.shape[0],), "int32")
        for slot, number, several in self._marks:
            is_asked = functools.reduce(operator.or_, [_occurs(token_ids, ids) for ids in several])
            left = left + ops.cast(is_asked, "int32") * int(number * self._radix[slot])
        return left * self._nodes

    def allowed(self, states: Array) -> Array:
        """bool[..., V], see ``Constraint``."""
        states = ops.convert_to_tensor(states, "int32")
        is_stop = np.zeros(self._vocab_size, "bool")
        is_stop[list(self._stop_ids)] = True
        nothing_left = (states // self._nodes == 0)[..., None]
        may_follow = ops.take(ops.convert_to_tensor(self._next >= 0), states % self._nodes, axis=0)
        return may_follow & (nothing_left | ~ops.convert_to_tensor(is_stop))

    def follow(self, states: Array, tokens: Array) -> Array:
        """int32[...], see ``Constraint``."""
        left, node = states // self._nodes, states % self._nodes
        places = node * self._vocab_size + ops.cast(tokens, "int32")
        node = ops.maximum(ops.take(ops.convert_to_tensor(self._next.reshape(-1)), places), 0)
        for slot, (radix, size) in enumerate(zip(self._radix, self._sizes)):
            wanted = (left // int(radix)) % int(size)
            told = ops.take(ops.convert_to_tensor(self._told[:, slot]), node, axis=0)
            is_told = ops.take_along_axis(told, wanted[..., None], axis=-1)[..., 0]
            left = left - ops.where(is_told, wanted, 0) * int(radix)
        return left * self._nodes + node

    def _spelled(self, tokenizer, phrase):
        """Ids of a phrase within a text."""
        ids = tuple(tokenizer.encode(phrase))
        if not ids:
            raise ValueError(f"A phrase has a token at least. Received: {phrase!r}")
        return ids

    def _search(self, tokenizer, banned):
        """The automaton that looks for all phrases at once, over tokens: int32[N, V] the
        next nodes, -1 into a banned phrase, and bool[N, slots, values] what has just been told."""
        found = {}
        for slot, values in enumerate(self.phrases.values()):
            for number, some in enumerate(values.values(), start=1):
                if not some:
                    raise ValueError(f"Every value has a phrase. Received: {values!r}")
                for phrase in some:
                    found.setdefault(self._spelled(tokenizer, phrase), []).append((slot, number))
        forbidden = [self._spelled(tokenizer, phrase) for phrase in banned]
        search = word_search([*found, *forbidden], self._vocab_size)
        told = np.zeros((len(search.nodes), len(self._sizes), max(self._sizes)), "bool")
        for ids, meanings in found.items():
            for slot, number in meanings:
                told[search.ends[ids], slot, number] = True
        dead = np.zeros(len(search.nodes), "bool")
        dead[[search.ends[ids] for ids in forbidden]] = True
        dead = search.with_suffixes(dead)
        self._next = np.where(dead[search.nodes], -1, search.nodes).astype("int32")
        self._told = search.with_suffixes(told)


def marks(slot: str, value: str) -> list[str]:
    """What a prompt says where it asks for a value, in between and at its end, see ``Brief.prompt``.

    >>> marks("food", "French")
    [' | food French |', ' | food French ->']
    """
    return [f" | {slot} {value}{end}" for end in (" |", " ->")]


def _occurs(token_ids, ids):
    """bool[B], whether ids occur in int32[B, P]."""
    places = token_ids.shape[1] - len(ids) + 1
    if places < 1:
        return ops.zeros((token_ids.shape[0],), "bool")
    here = ops.ones((token_ids.shape[0], places), "bool")
    for at, token in enumerate(ids):
        here = here & (token_ids[:, at : at + places] == token)
    return ops.any(here, axis=1)
