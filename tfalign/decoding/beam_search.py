"""Beam search: the likeliest response along several paths at once, in one XLA program.

Responses of one prompt grow side by side. In every step each is continued by every token and the
likeliest are kept: those that end there leave the beam, which is the narrower for it, the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from tfalign.decoding.constraints import Constraint, restricted
from tfalign.decoding.generate import read_last, start
from tfalign.decoding.paths import NEVER, PathSearch, side_by_side, with_column
from tfalign.functional.rows import take_rows
from tfalign.types import Array, Generation, Prompts


class Paths(NamedTuple):
    """K responses to each of B prompts that go on."""

    tokens: Any  # int32[B, K, R]
    log_probs: Any  # float32[B, K, R], of the tokens
    totals: Any  # float32[B, K], their sums; NEVER where there is none
    room: Any  # int32[B], how many there may be
    greedy: Any  # bool[B], whether the first is greedy's
    states: Any  # int32[B, K], of the constraint


class Ended(NamedTuple):
    """The best response to each prompt so far."""

    tokens: Any  # int32[B, R]
    log_probs: Any  # float32[B, R]
    score: Any  # float32[B], -inf as long as there is none
    lengths: Any  # int32[B]


class BeamSearch(PathSearch):
    """Compiled beam search with one model.

    A response Y is judged by log p(Y) / lp(Y) with lp(Y) = ((5 + |Y|) / 6)^a, the stop token
    counted (Wu et al. 2016, eq. 14; Vaswani et al. 2017, section 6.1, K = 4 and a = 0.6). The search
    stops when no path can become better than what has ended. Where K is large enough to drop nothing
    (V^R), it finds the best of all responses; where K is 1, greedy's. Greedy's path is never dropped: with
    a = 0 the response is at least as likely as greedy's, which plain beam search does not promise.

    Args:
        model: CausalLM, or what stands for one, such as ``SourceRead``.
        max_new_tokens: int, R.
        width: int, K.
        length_penalty: float >= 0, a; 0 to look for the likeliest response.
        stop_tokens: ids after which a response ends; the stop token itself belongs to it.
        pad_id: int, what stands after the end.
        constraint: which tokens may come next, see ``constraints``; None for all. A response that it lets end
            nowhere within R is cut off like any other.

    Attributes:
        compiled: ``backend.jit_rows``, whose ``traces`` counts the programs.

    Raises:
        ValueError: if ``max_new_tokens`` or ``width`` is not positive or ``length_penalty`` negative.
    """

    def __init__(
        self,
        model: Any,
        max_new_tokens: int,
        width: int = 4,
        length_penalty: float = 0.0,
        stop_tokens: Iterable[int] = (),
        pad_id: int = 0,
        constraint: Constraint | None = None,
    ) -> None:
        if length_penalty < 0:
            raise ValueError(
                f"length_penalty must not be negative. Received: length_penalty={length_penalty}"
            )
        self.length_penalty = length_penalty
        super().__init__(model, max_new_tokens, width, stop_tokens, pad_id, constraint)

    def run(self, token_ids: Array, mask: Array, *_: Any) -> Generation:
        """The best response found for each prompt; see ``PathSearch``."""
        rows, length = token_ids.shape[0], self.max_new_tokens
        kernel = self.model.readout_kernel()
        state = start(self.model, token_ids, mask, length)
        first_column = state.column
        paths, ended = self._beginning(Prompts(token_ids, mask))

        def open_ended(state, paths, ended):
            best_possible = ops.max(paths.totals, axis=1) / self._penalty(length)
            is_open = ops.any(best_possible > ended.score)
            return (state.column < first_column + length) & is_open

        def grow(state, paths, ended):
            t = state.column - first_column
            hidden, cache = read_last(self.model, state)
            logits = self.model.logits(hidden, kernel)
            logits = restricted(logits, self.constraint, ops.reshape(paths.states, (-1,)))
            log_probs = ops.reshape(ops.log_softmax(logits, axis=-1), (rows, self.width, -1))
            paths, parents = self._continued(t, paths, log_probs)
            family = ops.arange(rows)[:, None] * self.width + parents
            last_tokens = ops.take(paths.tokens, t, axis=-1)
            state = state._replace(
                column=state.column + 1,
                last_tokens=ops.reshape(last_tokens, (-1,)),
                positions=state.positions + 1,
                cache=take_rows(ops.reshape(family, (-1,)), cache),
            )
            return state, *self._stopped(t, last_tokens, paths, ended)

        _, paths, ended = ops.while_loop(
            open_ended, grow, (side_by_side(state, self.width), paths, ended)
        )
        # at the limit, what goes on is a response too; before it, no path can become the best
        answer = self._best(paths, paths.totals > NEVER / 2, length, ended)
        mask = ops.arange(length)[None, :] < answer.lengths[:, None]
        return Generation(answer.tokens, answer.log_probs, mask, None)

    def _beginning(self, prompts):
        """One path without a token in each row, and none that ended: (Paths, Ended)."""
        rows = prompts.token_ids.shape[0]
        states = self.constraint.start(prompts)
        paths = Paths(
            tokens=ops.full((rows, self.width, self.max_new_tokens), self.pad_id, "int32"),
            log_probs=ops.zeros((rows, self.width, self.max_new_tokens)),
            totals=ops.where(ops.arange(self.width) == 0, 0.0, NEVER) * ops.ones((rows, 1)),
            room=ops.full((rows,), self.width, "int32"),
            greedy=ops.ones((rows,), "bool"),
            states=ops.repeat(states[:, None], self.width, axis=1),
        )
        ended = Ended(
            tokens=paths.tokens[:, 0],
            log_probs=paths.log_probs[:, 0],
            score=ops.full((rows,), -np.inf),
            lengths=ops.zeros((rows,), "int32"),
        )
        return paths, ended

    def _stopped(self, t, last_tokens, paths, ended):
        """The paths that go on after a step's tokens, and the best that ended: (Paths, Ended)."""
        stops = ops.zeros_like(last_tokens, dtype="bool")
        for stop_token in self.stop_tokens:
            stops = stops | (last_tokens == stop_token)
        stops = stops & (paths.totals > NEVER / 2)
        ended = self._best(paths, stops, t + 1, ended)
        paths = paths._replace(
            totals=ops.where(stops, NEVER, paths.totals),
            room=paths.room - ops.sum(ops.cast(stops, "int32"), axis=1),
            greedy=paths.greedy & ~stops[:, 0],
        )
        return paths, ended

    def _continued(self, t, paths, log_probs):
        """The likeliest continuations, greedy's first: (Paths, int32[B, K] those they continue)."""
        vocabulary = ops.shape(log_probs)[-1]
        totals = _flat(paths.totals[..., None] + log_probs)
        greedys = ops.cast(ops.argmax(log_probs[:, 0], axis=-1), "int32")  # a token of path 0
        is_greedys = ops.arange(self.width * vocabulary) == greedys[:, None]
        _, chosen = ops.top_k(
            ops.where(is_greedys & paths.greedy[:, None], np.inf, totals), self.width
        )
        chosen = ops.cast(chosen, "int32")
        parents, tokens = chosen // vocabulary, chosen % vocabulary
        tokens_before, log_probs_before = (
            ops.take_along_axis(x, parents[..., None], axis=1)
            for x in (paths.tokens, paths.log_probs)
        )
        states = ops.take_along_axis(paths.states, parents, axis=1)
        has_room = ops.arange(self.width) < paths.room[:, None]
        continued = paths._replace(
            tokens=with_column(tokens_before, tokens, t),
            log_probs=with_column(
                log_probs_before, ops.take_along_axis(_flat(log_probs), chosen, axis=-1), t
            ),
            totals=ops.where(has_room, ops.take_along_axis(totals, chosen, axis=-1), NEVER),
            states=self.constraint.follow(states, tokens),
        )
        return continued, parents

    def _best(self, paths, among, length, ended):
        """``ended``, or where it is better the best of the paths ``among`` bool[B, K]."""
        totals = ops.where(among, paths.totals, -np.inf)
        best = ops.argmax(totals, axis=1)
        score = _pick(totals, best) / self._penalty(length)
        lengths = ops.full_like(ended.lengths, length)
        new = Ended(_pick(paths.tokens, best), _pick(paths.log_probs, best), score, lengths)
        is_better = score > ended.score
        return tree.map_structure(
            lambda x, y: ops.where(ops.reshape(is_better, (-1,) + (1,) * (len(x.shape) - 1)), x, y),
            new,
            ended,
        )

    def _penalty(self, length):
        return ((5.0 + ops.cast(length, "float32")) / 6.0) ** self.length_penalty


def _flat(x):
    """[B, K, N] to [B, K N]."""
    return ops.reshape(x, (ops.shape(x)[0], -1))


def _pick(x, index):
    """x[b, index[b]] for every row b."""
    index = ops.reshape(index, (-1,) + (1,) * (len(x.shape) - 1))
    return ops.take_along_axis(x, index, axis=1)[:, 0]
