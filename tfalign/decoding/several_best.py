"""The likeliest responses to each prompt, several of them, in one XLA program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfalign.decoding.constraints import Constraint, restricted
from tfalign.decoding.generate import read_last, start
from tfalign.decoding.paths import NEVER, PathSearch, side_by_side, with_column
from tfalign.functional.rows import take_rows
from tfalign.types import Array, Prompts


class Ranked(NamedTuple):
    """K responses to each of B prompts, the likeliest first."""

    tokens: Any  # int32[B, K, R], padding id after the end
    mask: Any  # bool[B, K, R], true up to and including the stop token; false everywhere where there is none
    log_probs: Any  # float32[B, K], of whole responses, nats; minus infinity where there is none


class SeveralBest(PathSearch):
    """Beam search for a list: the K likeliest paths are kept, whether they have ended or go on.

    Unlike ``BeamSearch``, which looks for one response, it returns all K. Where K is large enough to drop nothing they
    are all responses there are. A path that has not ended within R is a response like any other.

    Args:
        model: CausalLM.
        max_new_tokens: int, R.
        width: int, K.
        stop_tokens: ids after which a response ends; the stop token itself belongs to it.
        pad_id: int, what stands after the end.
        constraint: which tokens may come next, see ``constraints``; None for all.

    Attributes:
        compiled: ``backend.jit_rows``, whose ``traces`` counts the programs.

    Raises:
        ValueError: if ``max_new_tokens`` or ``width`` is not positive.

    >>> from tfalign.models import CausalLM, GPTConfig
    >>> model = CausalLM(GPTConfig(vocab_size=4, width=8, num_layers=1, num_heads=2, max_positions=8))
    >>> found = SeveralBest(model, max_new_tokens=2, width=16)(np.array([[0]]))  # of the 16 there are
    >>> round(float(np.exp(found.log_probs).sum()), 4)
    1.0
    """

    def __init__(
        self,
        model: Any,
        max_new_tokens: int,
        width: int = 4,
        stop_tokens: Iterable[int] = (),
        pad_id: int = 0,
        constraint: Constraint | None = None,
    ) -> None:
        super().__init__(model, max_new_tokens, width, stop_tokens, pad_id, constraint)

    def run(self, token_ids: Array, mask: Array, *_: Any) -> Ranked:
        """The responses found; see ``PathSearch``."""
        rows, length, width = token_ids.shape[0], self.max_new_tokens, self.width
        kernel = self.model.readout_kernel()
        state = side_by_side(start(self.model, token_ids, mask, length), width)
        first = state.column
        states = ops.repeat(self.constraint.start(Prompts(token_ids, mask)), width)
        found = Ranked(
            tokens=ops.full((rows, width, length), self.pad_id, "int32"),
            mask=ops.zeros((rows, width, length), "bool"),
            log_probs=ops.where(ops.arange(width) == 0, 0.0, NEVER) * ops.ones((rows, 1)),
        )

        def goes_on(state, states, found):
            return (state.column < first + length) & ~ops.all(state.finished)

        def grow(state, states, found):
            t = state.column - first
            hidden, cache = read_last(self.model, state)
            logits = restricted(self.model.logits(hidden, kernel), self.constraint, states)
            family, tokens, found = self._continued(t, logits, state.finished, found)
            finished = ops.take(state.finished, family)
            followed = self.constraint.follow(ops.take(states, family), tokens)
            stops = sum(ops.cast(tokens == stop, "int32") for stop in self.stop_tokens)
            state = state._replace(
                column=state.column + 1,
                last_tokens=tokens,
                positions=state.positions + 1,
                cache=take_rows(family, cache),
                finished=finished | (stops > 0),
            )
            return state, followed, found

        _, _, found = ops.while_loop(goes_on, grow, (state, states, found))
        is_there = found.log_probs > NEVER / 2
        return found._replace(
            mask=found.mask & is_there[..., None],
            log_probs=ops.where(is_there, found.log_probs, -np.inf),
        )

    def _continued(self, t, logits, finished, found):
        """A step: (int32[B K] the paths that are continued, int32[B K] by which tokens, Ranked)."""
        rows, vocabulary = found.tokens.shape[0], logits.shape[-1]
        is_pad = ops.arange(vocabulary) == self.pad_id
        after_end = ops.where(is_pad, 0.0, NEVER)
        log_probs = ops.where(finished[:, None], after_end, ops.log_softmax(logits, axis=-1))
        totals = found.log_probs[..., None] + ops.reshape(log_probs, (rows, self.width, -1))
        totals = ops.maximum(ops.reshape(totals, (rows, -1)), NEVER)
        best, chosen = ops.top_k(totals, self.width)
        chosen = ops.cast(chosen, "int32")
        parents, tokens = chosen // vocabulary, chosen % vocabulary
        kept = [ops.take_along_axis(x, parents[..., None], axis=1) for x in found[:2]]
        family = ops.reshape(ops.arange(rows)[:, None] * self.width + parents, (-1,))
        writes = ~ops.reshape(ops.take(finished, family), (rows, self.width))
        found = Ranked(with_column(kept[0], tokens, t), with_column(kept[1], writes, t), best)
        return family, ops.reshape(tokens, (-1,)), found
