"""Walks over the other answers of a question to one of them."""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign.decoding.graph_walk import GraphWalk, HiddenAnswerWalk
from tfalign.types import Array

_NOWHERE = -4  # no entity


class OtherAnswersWalk(HiddenAnswerWalk):
    """Walks in a graph that hides one edge of a question, that to the answer at which the walk ends.

    Das et al. 2018 (MINERVA) hide from a training question the edge to the answer that is asked for, and leave those to
    its other answers. Which answer that is a prompt does not say, but the walk does: it may take one edge that answers
    the question, and may not end where this edge leads. So for each answer the walks that end there are those of the
    graph without the edge to it. Edges that answer, read backwards, stay hidden, and so do those from an entity to itself.

    Args: see ``HiddenAnswerWalk``.

    >>> edges = [[0, 4, 1], [0, 4, 2], [1, 4, 2]]  # 0 lies in 1 and in 2, and 1 lies in 2
    >>> from tfalign.types import Prompts
    >>> walk = OtherAnswersWalk(edges, vocab_size=6, stop_token=5, max_hops=2, min_hops=1)
    >>> at_1 = walk.start(Prompts(np.array([[4, 0]]), None))
    >>> for token in (4, 1):
    ...     at_1 = walk.follow(at_1, np.array([token]))
    >>> np.flatnonzero(walk.allowed(at_1)[0])  # on to 2, not the end
    array([4])
    """

    def _hold_nodes(self, sources, relations, targets):
        super()._hold_nodes(sources, relations, targets)
        entities, pairs = self._num_entities, self._num_pairs
        degrees = np.asarray(self._degrees)[entities : entities + pairs]
        begins = np.asarray(self._begins)[entities : entities + pairs]
        ends = np.asarray(self._entity_of)[np.asarray(self._lists)]  # -1 of what is no entity
        self._most_targets = int(degrees.max())
        goes_on = self._going_on(ends, begins, degrees)
        second = np.where(degrees > 1, ends[np.minimum(begins + 1, len(ends) - 1)], _NOWHERE)
        self._hold(
            ends=ends,
            goes_on=goes_on,
            any_goes_on=np.r_[[goes_on[b : b + d].any() for b, d in zip(begins, degrees)], False],
            first_target=np.r_[ends[begins], _NOWHERE],
            second_target=np.r_[second, _NOWHERE],
            num_targets=np.r_[degrees, 0],
        )

    def _going_on(self, ends, begins, degrees):
        """bool[...] along the lists: whether a walk over this edge, as an answer, can end somewhere else."""
        source = np.asarray(self._pair_source)[:-1]
        backwards = np.asarray(self._backwards)[np.asarray(self._pair_relation)[:-1]]
        edges = {
            (int(s), int(r), int(t))
            for s, r, b, d in zip(source, np.asarray(self._pair_relation), begins, degrees)
            for t in ends[b : b + d]
        }
        onwards = np.zeros(self._num_entities, "int64")
        for s, _, t in edges:
            onwards[s] += s != t
        found = np.zeros(len(ends), "bool")
        for s, back, b, d in zip(source, backwards, begins, degrees):
            for place in range(b, b + d):
                t = int(ends[place])
                hidden = (t, int(back), int(s)) in edges
                found[place] = t != s and onwards[t] - hidden > 0
        return found

    @property
    def _num_queries(self):
        return super()._num_queries * (self._most_targets + 1)

    def _query(self, sources, token_ids):
        """The pair that is asked for, and which of its targets the walk was at over an edge that answers."""
        return super()._query(sources, token_ids) * (self._most_targets + 1)

    def _taken(self, place):
        """(the pair that is asked for, the number of the edge that was taken; 0 for none, the entity it led to)."""
        pair, number = (
            place.query // (self._most_targets + 1),
            place.query % (self._most_targets + 1),
        )
        of_pair = ops.where(pair < self._num_pairs, self._num_entities + pair, 0)
        at = ops.take(self._begins, of_pair) + ops.maximum(number - 1, 0)
        return pair, number, ops.where(number > 0, ops.take(self._ends, at), _NOWHERE)

    def _may_stop(self, place):
        return super()._may_stop(place) & (place.node != self._taken(place)[2])

    def _continuations(self, place):
        tokens, is_there = GraphWalk._continuations(self, place)
        pair, number, led_to = (x[..., None] for x in self._taken(place))
        asked_of, asked = ops.take(self._pair_source, pair), ops.take(self._pair_relation, pair)
        backwards, is_last = (
            ops.take(self._backwards, asked),
            place.hops[..., None] + 1 == self.max_hops,
        )
        is_entity = (place.node < self._num_entities)[..., None]
        here = ops.take(self._source, place.node)[..., None]
        of_token = ops.take(self._relation_of, tokens)
        relation = ops.where(is_entity, of_token, ops.take(self._relation, place.node)[..., None])

        def is_closed(target):
            """Whether the relation may not be followed to this entity."""
            back = (target == asked_of) & (relation == backwards)
            return back | is_last & (target == led_to)

        behind = self._pair(here, of_token)
        behind = ops.where(behind < 0, self._num_pairs, behind)
        first, second = ops.take(self._first_target, behind), ops.take(self._second_target, behind)
        is_blind = is_closed(first) & ((second == _NOWHERE) | is_closed(second))
        is_blind = is_blind & (ops.take(self._num_targets, behind) <= 2)
        of_entity = ops.where(is_entity, is_blind, is_closed(ops.take(self._entity_of, tokens)))
        answers = (here == asked_of) & (relation == asked)
        edge = ops.take(self._begins, place.node)[..., None] + self._window
        goes_on = ops.where(
            is_entity, ops.take(self._any_goes_on, behind), ops.take(self._goes_on, edge)
        )
        may_answer = (number == 0) & ~is_last & (goes_on > 0)
        return tokens, is_there & ops.where(answers, may_answer, ~of_entity)

    def follow(self, states: Array, tokens: Array) -> Array:
        """int32[...], see ``GraphWalk``; the state remembers the edge that answers, if it was that."""
        place = self._place(ops.convert_to_tensor(states, "int32"))
        pair, number, _ = self._taken(place)
        answers = (number == 0) & (place.node == self._num_entities + pair)
        following, is_there = GraphWalk._continuations(self, place)
        token = ops.convert_to_tensor(tokens, "int32")[..., None]
        taken = ops.argmax(ops.cast((following == token) & is_there, "int32"), axis=-1) + 1
        taken = ops.where(answers, ops.cast(taken, "int32"), 0)
        return super().follow(states, tokens) + taken * (self.max_hops + 1) * self._num_nodes
