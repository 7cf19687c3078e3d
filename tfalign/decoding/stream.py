"""Streaming: one token at a time, the same tokens as the compiled loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.decoding.constraints import Constraint, Unconstrained, check_states, told
from tfalign.decoding.generate import check_max_new_tokens, start, step
from tfalign.decoding.prompts import checked_prompts
from tfalign.decoding.samplers import Greedy, Sampler
from tfalign.functional.random import uniform
from tfalign.models import CausalLM
from tfalign.types import Prompts

FEWEST_COLUMNS = 16  # that a prompt is padded to


class Streamer:
    """Yields the tokens of one response as they are sampled.

    A prompt is padded to the next power of two, so that few programs serve all lengths and the cache
    has columns for that prompt and its response alone, however many positions the model has.

    Args:
        model: CausalLM.
        max_new_tokens: int.
        sampler: ``Sampler`` or ``Greedy``.
        stop_tokens: ids after which the response ends.
        constraint: which tokens may come next, see ``constraints``; None for all.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive.
    """

    def __init__(
        self,
        model: CausalLM,
        max_new_tokens: int,
        sampler: Sampler | Greedy = Sampler(),
        stop_tokens: Sequence[int] = (),
        constraint: Constraint | None = None,
    ) -> None:
        check_max_new_tokens(max_new_tokens)
        constraint = Unconstrained() if constraint is None else constraint
        self.model = model
        self.max_new_tokens = max_new_tokens

        def begin(token_ids, mask):
            state = start(model, token_ids, mask, max_new_tokens)
            return state, constraint.start(Prompts(token_ids, mask))

        def draw(state, following, seed, index):
            uniforms = uniform(seed, ops.zeros((1,), "int32"), index)
            allowed = constraint.allowed(following)
            of_model = model, model.readout_kernel(), sampler, stop_tokens, 0
            state, tokens, _, _ = step(*of_model, state, uniforms, allowed)
            was = following if allowed is None else told(following, allowed)
            return state, constraint.follow(following, tokens), was, tokens[0]

        self._begin = backend.jit(begin, model.variables)
        self._draw = backend.jit(draw, model.variables)

    def __call__(
        self, token_ids: Sequence[int], seed: int = 0, pad_to: int | None = None
    ) -> Iterator[int]:
        """Iterates over the response to one prompt.

        Args:
            token_ids: list of ints, the prompt.
            seed: int in [0, 2**32).
            pad_to: int, columns the prompt is padded to instead.

        Yields:
            int, the next token; the stop token is the last.

        Raises:
            ValueError: if the prompt is empty or has an id outside the vocabulary, or prompt and
                response exceed the model's positions.
            ConstraintError: if the constraint allows no token, naming the state.
        """
        ids = np.reshape(np.asarray(token_ids), (1, -1))
        columns = max(pad_to or self._columns(ids.size), ids.size)
        missing = ((0, 0), (columns - ids.size, 0))
        row = np.pad(ids, missing)
        mask = np.pad(np.ones(ids.shape, "bool"), missing)
        checked = checked_prompts(self.model, row, mask, self.max_new_tokens)
        state, following = self._begin(*checked)
        for index in range(self.max_new_tokens):
            drawn = self._draw(state, following, np.uint32(seed), np.int32(index))
            state, following, was, token = drawn
            check_states(was[None], np.ones((1, 1), "bool"))
            yield int(token)
            if bool(state.finished[0]):
                return

    def _columns(self, length):
        """int, those of the bucket that a prompt of this length belongs to."""
        bucket = max(FEWEST_COLUMNS, 1 << (length - 1).bit_length())
        most = self.model.config.max_positions
        return bucket if most is None else min(bucket, most - self.max_new_tokens)
