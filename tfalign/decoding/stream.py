"""Decoding for someone who watches: a token at a time, the same tokens as the fused loop."""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.decoding.generate import check_max_new_tokens, check_prompts, start, step
from tfalign.decoding.samplers import Sampler
from tfalign.functional.random import uniform


class Streamer:
    """Yields the tokens of one response as they are drawn.

    Args:
        model: CausalLM.
        max_new_tokens: int.
        sampler: ``Sampler`` or ``Greedy``.
        stop_tokens: ids after which the response ends.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive.
    """

    def __init__(self, model, max_new_tokens, sampler=Sampler(), stop_tokens=()):
        check_max_new_tokens(max_new_tokens)
        self.model = model
        self.max_new_tokens = max_new_tokens

        def begin(token_ids, mask):
            return start(model, token_ids, mask, max_new_tokens)

        def draw(state, seed, index):
            uniforms = uniform(seed, ops.zeros((1,), "int32"), index)
            kernel = model.readout_kernel()
            state, tokens, _, _ = step(model, kernel, sampler, stop_tokens, 0, state, uniforms)
            return state, tokens[0]

        self._begin = backend.jit(begin, model.variables)
        self._draw = backend.jit(draw, model.variables)

    def __call__(self, token_ids, seed=0, pad_to=None):
        """Iterates over the response to one prompt.

        Args:
            token_ids: list of ints, the prompt.
            seed: int in [0, 2**32).
            pad_to: int, columns the prompt is padded to, so that prompts share a program.

        Yields:
            int, the next token; the stop token is the last.

        Raises:
            ValueError: if the prompt is empty, or prompt and response exceed the model's positions.
        """
        columns = max(pad_to or 0, len(token_ids))
        row = np.zeros((1, columns), "int32")
        mask = np.arange(columns)[None, :] >= columns - len(token_ids)
        check_prompts(self.model, mask, self.max_new_tokens)
        row[0, columns - len(token_ids) :] = token_ids
        state = self._begin(row, mask)
        for index in range(self.max_new_tokens):
            state, token = self._draw(state, np.uint32(seed), np.int32(index))
            yield int(token)
            if bool(state.finished[0]):
                return
