"""Walks in a graph as constraints: from an entity its relations, after a relation its targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from keras import ops

from tfalign.decoding.constraints import ConstraintError
from tfalign.functional.arguments import check_size
from tfalign.functional.masking import to_left_padded
from tfalign.types import Array, Prompts

_MOST_STATES = 2**31 - 1


class _Place(NamedTuple):
    """Where walks stand; int32[...] each."""

    query: Array  # (entity, relation) pair that the prompt asks for; 0 where nothing depends on it
    hops: Array  # edges taken
    node: Array  # an entity, or an (entity, relation) pair behind the entities, or nowhere, or the end, the last


class GraphWalk:
    """Walks in a graph of (source, relation, target) edges, from the entity with which a prompt ends.

    A walk is relation, target, relation, target, and the stop token, at an entity. It has no dead ends: a relation is
    allowed where it has a target, and where nothing goes on the stop token is left. Where a prompt ends with
    something else than an entity of the graph nothing is allowed.

    Args:
        edges: int[N, 3], tokens of source, relation and target; repeated ones count once.
        vocab_size: int, V.
        stop_token: int, ends a walk.
        max_hops: int, edges that a walk may have.
        min_hops: int, edges that it must have.

    Attributes:
        edges: int32[M, 3], sorted, without repetitions.

    Raises:
        ConstraintError: if there is no edge.
        ValueError: if edges, stop token or numbers of hops do not fit.

    >>> walk = GraphWalk([[0, 3, 1], [1, 3, 2]], vocab_size=5, stop_token=4, max_hops=2, min_hops=1)
    >>> states = walk.start(Prompts(np.array([[0], [1]]), None))
    >>> walk.allowed(walk.follow(states, np.array([3, 3])))
    <tf.Tensor: shape=(2, 5), dtype=bool, numpy=
    array([[False,  True, False, False, False],
           [False, False,  True, False, False]])>
    """

    def __init__(
        self, edges: Array, vocab_size: int, stop_token: int, max_hops: int, min_hops: int = 0
    ) -> None:
        check_size("max_hops", max_hops)
        if not 0 <= min_hops <= max_hops:
            raise ValueError(
                f"min_hops lies in [0, max_hops={max_hops}]. Received: min_hops={min_hops}"
            )
        self.edges = _checked_edges(edges, vocab_size, stop_token)
        self.vocab_size, self.stop_token = vocab_size, stop_token
        self.max_hops, self.min_hops = max_hops, min_hops
        self._hold_nodes(*self.edges.T)
        if self._num_queries * (max_hops + 1) * self._num_nodes > _MOST_STATES:
            raise ValueError(
                f"A walk's state is an int32. Received: {self._num_nodes} entities and relations of them, "
                f"{self._num_queries} queries, max_hops={max_hops}"
            )

    def __reduce__(self) -> tuple:
        """What it is made of: another process holds tables of its own."""
        sizes = (self.vocab_size, self.stop_token, self.max_hops, self.min_hops)
        return type(self), (self.edges, *sizes)

    @property
    def max_new_tokens(self) -> int:
        """The longest walk's tokens, its stop token counted."""
        return 2 * self.max_hops + 1

    def start(self, prompts: Prompts) -> Array:
        """int32[B], see ``Constraint``."""
        token_ids = _left_padded(prompts)
        sources = ops.take(self._entity_of, token_ids[:, -1])
        node = ops.where(sources < 0, self._num_nodes - 2, sources)
        return self._state(self._query(sources, token_ids), ops.zeros_like(node), node)

    def allowed(self, states: Array) -> Array:
        """bool[..., V], see ``Constraint``."""
        place = self._place(ops.convert_to_tensor(states, "int32"))
        is_entity = place.node < self._num_entities
        tokens, goes_on = self._continuations(place)
        goes_on = goes_on & (~is_entity | (place.hops < self.max_hops))[..., None]
        stops = is_entity & self._may_stop(place) | (place.node == self._num_nodes - 1)
        tokens = ops.concatenate([tokens, ops.full_like(tokens[..., :1], self.stop_token)], axis=-1)
        return self._spread(tokens, ops.concatenate([goes_on, stops[..., None]], axis=-1))

    def follow(self, states: Array, tokens: Array) -> Array:
        """int32[...], see ``Constraint``; the end, where only the stop token is allowed, after that token."""
        place = self._place(ops.convert_to_tensor(states, "int32"))
        tokens = ops.convert_to_tensor(tokens, "int32")
        is_entity = place.node < self._num_entities
        target = ops.take(self._entity_of, tokens)
        pair = self._pair(ops.where(is_entity, place.node, -1), ops.take(self._relation_of, tokens))
        is_pair = ~is_entity & (place.node < self._num_entities + self._num_pairs)
        node = ops.where(is_pair, target, ops.where(pair < 0, -1, self._num_entities + pair))
        node = ops.where(node < 0, self._num_nodes - 1, node)
        return self._state(place.query, place.hops + ops.cast(is_pair, "int32"), node)

    def _hold_nodes(self, sources, relations, targets):
        """The tables that a program reads: for every node the tokens that follow, one list behind the other."""
        entities, names = np.unique(np.r_[sources, targets]), np.unique(relations)
        self._num_entities, self._num_relations = len(entities), len(names)
        entity_of, relation_of = (_numbers(tokens, self.vocab_size) for tokens in (entities, names))
        keys = entity_of[sources].astype("int64") * len(names) + relation_of[relations]
        pairs, counts = np.unique(keys, return_counts=True)  # edges are sorted, and pairs with them
        self._num_pairs, self._num_nodes = len(pairs), len(entities) + len(pairs) + 2
        pair_of = np.full(len(entities) * len(names), -1, "int32")
        pair_of[pairs] = np.arange(len(pairs))
        pair_source, pair_relation = pairs // len(names), pairs % len(names)
        degrees = np.r_[np.bincount(pair_source, minlength=len(entities)), counts, 0, 0]
        lists = np.r_[names[pair_relation], targets]
        self._hold(
            entity_of=entity_of,
            relation_of=relation_of,
            pair_of=pair_of,
            degrees=degrees,
            begins=np.cumsum(degrees) - degrees,
            lists=np.r_[lists, np.zeros(degrees.max(), "int64")],  # a window may reach over the end
            source=np.r_[np.arange(len(entities)), pair_source, -1, -1],
            relation=np.r_[np.full(len(entities), -1), pair_relation, -1, -1],
        )
        self._window = np.arange(degrees.max(), dtype="int32")

    def _hold(self, **tables):
        for name, table in tables.items():
            setattr(self, f"_{name}", ops.convert_to_tensor(np.asarray(table, "int32")))

    @property
    def _num_queries(self):
        """How many queries a state tells apart."""
        return 1

    def _query(self, sources, token_ids):
        """int32[B], what a state knows of its prompt, below ``_num_queries``."""
        del token_ids
        return ops.zeros_like(sources)

    def _may_stop(self, place):
        """bool[...], whether a walk may end at the entity where it stands."""
        return place.hops >= self.min_hops

    def _pair(self, entity, relation):
        """int32[...], the number of an (entity, relation) pair; -1 where there is none."""
        is_there = (entity >= 0) & (relation >= 0)
        place = ops.where(is_there, entity * self._num_relations + relation, 0)
        return ops.where(is_there, ops.take(self._pair_of, place), -1)

    def _continuations(self, place):
        """(tokens int32[..., D] that follow in the graph, whether there are so many bool[..., D])."""
        here = ops.take(self._begins, place.node)[..., None] + self._window
        is_there = self._window < ops.take(self._degrees, place.node)[..., None]
        return ops.take(self._lists, here), is_there

    def _spread(self, tokens, is_there):
        """bool[..., V] from tokens int32[..., D], of which those count that are there."""
        width = self.vocab_size + 1
        columns = ops.where(is_there, tokens, self.vocab_size)
        flat = ops.reshape(columns, (-1, columns.shape[-1]))
        places = ops.arange(flat.shape[0], dtype="int32")[:, None] * width + flat
        places = ops.reshape(places, (-1, 1))
        found = ops.scatter(places, ops.ones_like(places[:, 0]), (flat.shape[0] * width,))
        return ops.reshape(found, (*columns.shape[:-1], width))[..., :-1] > 0

    def _state(self, query, hops, node):
        hops = ops.minimum(hops, self.max_hops)
        return (query * (self.max_hops + 1) + hops) * self._num_nodes + node

    def _place(self, states):
        above = states // self._num_nodes
        hops = self.max_hops + 1
        return _Place(above // hops, above % hops, states % self._num_nodes)


class HiddenAnswerWalk(GraphWalk):
    """Walks in a graph that hides the edges which answer the prompt: to train on questions whose answers the graph
    has, as on those whose answers it lacks.

    A prompt ends with a relation and an entity, and asks for the relation's targets. On its walk these edges are not
    there, nor the same edges read backwards.

    Args:
        inverse: dict of relation tokens to the token of the same relation read backwards; empty where the graph has
            none.
        Others: see ``GraphWalk``.
    """

    def __init__(
        self,
        edges: Array,
        vocab_size: int,
        stop_token: int,
        max_hops: int,
        min_hops: int = 0,
        inverse: Mapping[int, int] = {},
    ) -> None:
        self.inverse = dict(inverse)
        super().__init__(edges, vocab_size, stop_token, max_hops, min_hops)

    def __reduce__(self) -> tuple:
        kind, given = super().__reduce__()
        return kind, (*given, self.inverse)

    def _hold_nodes(self, sources, relations, targets):
        super()._hold_nodes(sources, relations, targets)
        numbers = np.asarray(self._relation_of)
        backwards = np.full(self._num_relations + 1, -2)  # the last is of no query
        for relation, inverse in self.inverse.items():
            if numbers[relation] >= 0 and numbers[inverse] >= 0:
                backwards[numbers[relation]] = numbers[inverse]
        degrees = np.asarray(self._degrees)[self._num_entities : -2]
        begins = np.asarray(self._begins)[self._num_entities : -2]
        first = np.asarray(self._entity_of)[np.asarray(self._lists)[begins]]
        self._hold(
            backwards=backwards,
            only_target=np.r_[np.where(degrees == 1, first, -2), -2],  # of a pair
            pair_source=np.r_[np.asarray(self._source)[self._num_entities : -2], -3],
            pair_relation=np.r_[np.asarray(self._relation)[self._num_entities : -2], -3],
        )

    @property
    def _num_queries(self):
        return self._num_pairs + 1

    def _query(self, sources, token_ids):
        """The (entity, relation) pair; the last where the graph does not have it."""
        relation = ops.full_like(sources, -1)
        if token_ids.shape[1] > 1:
            relation = ops.take(self._relation_of, token_ids[:, -2])
        pair = self._pair(sources, relation)
        return ops.where(pair < 0, self._num_pairs, pair)

    def _continuations(self, place):
        tokens, is_there = super()._continuations(place)
        asked_of = ops.take(self._pair_source, place.query)[..., None]
        asked = ops.take(self._pair_relation, place.query)[..., None]
        backwards = ops.take(self._backwards, asked)
        here = ops.take(self._source, place.node)[..., None]
        is_entity = (place.node < self._num_entities)[..., None]
        of_token = ops.take(self._relation_of, tokens)
        relation = ops.where(is_entity, of_token, ops.take(self._relation, place.node)[..., None])
        pair = self._pair(here, of_token)
        only = ops.take(self._only_target, ops.where(pair < 0, self._num_pairs, pair))
        target = ops.where(is_entity, only, ops.take(self._entity_of, tokens))
        answers = (here == asked_of) & (relation == asked)
        answers_backwards = (target == asked_of) & (relation == backwards)
        return tokens, is_there & ~answers & ~answers_backwards


def _left_padded(prompts):
    """int32[B, P], real tokens last."""
    token_ids = ops.convert_to_tensor(prompts.token_ids, "int32")
    if prompts.mask is None:
        return token_ids
    return to_left_padded(token_ids, ops.convert_to_tensor(prompts.mask, "bool"))[0]


def _numbers(tokens, vocab_size):
    """int32[V], the place of each token in a sorted list, -1 of those not in it."""
    numbers = np.full(vocab_size, -1, "int32")
    numbers[tokens] = np.arange(len(tokens))
    return numbers


def _checked_edges(edges, vocab_size, stop_token):
    edges = np.asarray(edges)
    if not edges.size:
        raise ConstraintError("The constraint allows nothing: the graph has no edge")
    if edges.ndim != 2 or edges.shape[1] != 3:
        raise ValueError(
            f"Edges are int[N, 3]: source, relation, target. Received: shape {list(edges.shape)}"
        )
    if edges.min() < 0 or max(edges.max(), stop_token) >= vocab_size:
        raise ValueError(
            f"Edges and stop token are ids below vocab_size={vocab_size}. Received: ids of "
            f"{edges.min()} to {edges.max()}, stop_token={stop_token}"
        )
    entities, relations = set(edges[:, [0, 2]].flat), set(edges[:, 1])
    shared = sorted(entities & relations | {stop_token} & (entities | relations))
    if shared:
        raise ValueError(
            "Entities, relations and the stop token are different tokens. Received: "
            f"{int(shared[0])} as two of them"
        )
    return np.unique(edges.astype("int32"), axis=0)
