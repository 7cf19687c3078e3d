"""Users of a conversation: who speaks after the policy's turns, see ``mdp.transition``.

A user is any ``State -> (token_ids int32[B, U], lengths int32[B])``. These two are made of
``keras.ops``, so a step in which they speak still compiles to one XLA program, and what they say is
a function of the conversation alone: the process stays a Markov decision process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.functional.arguments import check_size
from tfalign.functional.text_state import State
from tfalign.types import Array


class ScriptedUser:
    """Says one line after another, whatever the policy says, and then nothing.

    Args:
        lines: list of lists of ids, none of them empty; the first follows the policy's first turn. Of
            texts they are ``tokenizer.encode_following(texts)``, with nothing put in front.

    Raises:
        ValueError: if there is no line, or an empty one.
    """

    def __init__(self, lines: Sequence[Sequence[int]]) -> None:
        if not lines or not all(lines):
            raise ValueError(f"A script has lines, and none is empty. Received: lines={lines}")
        self._lengths = np.array([len(line) for line in lines], "int32")
        self._lines = np.zeros((len(lines), self._lengths.max()), "int32")
        for row, line in zip(self._lines, lines):
            row[: len(line)] = line

    def check(self, vocab_size: int) -> None:
        """Raises a ValueError if a line has an id outside a vocabulary of this size."""
        outside = ((self._lines < 0) | (self._lines >= vocab_size)).any(axis=1)
        if outside.any():
            line = int(np.argmax(outside))
            raise ValueError(
                f"Line {line} of the user has an id outside the vocabulary of {vocab_size}. "
                f"Received: {self._lines[line, : self._lengths[line]].tolist()}"
            )

    def __call__(self, state: State) -> tuple[Array, Array]:
        """The next line, see the module."""
        index = ops.minimum(state.user_turns, len(self._lines) - 1)
        lengths = ops.where(state.user_turns < len(self._lines), ops.take(self._lengths, index), 0)
        return ops.take(self._lines, index, axis=0), lengths


class LearnedUser:
    """A language model that continues the conversation.

    The same conversation gets the same answer: a sampler's random numbers are those of the seed
    and of how much has been written. On JAX it speaks in episodes walked on the host only: there, a
    compiled function that reads weights cannot stand in a branch of another.

    Args:
        model: CausalLM; it must have positions for the conversation and ``max_new_tokens`` more.
        max_new_tokens: int, U, the longest line.
        max_turns: int, how often it speaks before it falls silent.
        stop_tokens: ids that end a line; the stop token itself belongs to it.
        sampler: see ``decoding.samplers``; None for ``Greedy()``.
        seed: int in [0, 2**32), of the sampler.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive.
    """

    def __init__(
        self,
        model: keras.Model,
        max_new_tokens: int,
        max_turns: int,
        stop_tokens: Iterable[int] = (),
        sampler: Sampler | Greedy | None = None,
        seed: int = 0,
    ) -> None:
        check_size("max_new_tokens", max_new_tokens)
        self._made_of = (model, max_new_tokens, max_turns, stop_tokens, sampler, seed)
        self.generator = Generator(model, max_new_tokens, sampler or Greedy(), stop_tokens)
        self.max_turns = max_turns
        self.seed = seed

    def __reduce__(self) -> tuple:
        """What it is made of: another process compiles its own programs."""
        return type(self), self._made_of

    def check(self, vocab_size: int) -> None:
        """Raises a ValueError if the model's vocabulary is not one of this size."""
        of_model = self.generator.model.config.vocab_size
        if of_model != vocab_size:
            raise ValueError(
                f"The user's model has a vocabulary of {of_model}, the process one of {vocab_size}"
            )

    def __call__(self, state: State) -> tuple[Array, Array]:
        """What the model says next, see the module.

        Raises:
            ValueError: if the conversation and the line exceed the model's positions.
        """
        total = state.token_ids.shape[1] + self.generator.max_new_tokens
        most = self.generator.model.config.max_positions
        if most is not None and total > most:
            raise ValueError(
                f"The user's model needs {total} positions, for a conversation of "
                f"{state.token_ids.shape[1]} columns and its line, and has {most}"
            )
        generation = self.generator.compiled(
            state.token_ids, state.padding_mask, np.uint32(self.seed), state.response_length
        )
        lengths = ops.sum(ops.cast(generation.mask, "int32"), axis=1)
        return generation.tokens, ops.where(state.user_turns < self.max_turns, lengths, 0)
