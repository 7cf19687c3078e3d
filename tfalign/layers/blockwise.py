"""Attention whose memory is linear in the length: a tile of queries and keys at a time (Rabe and Staats 2021, Dao et
al. 2022), in ``keras.ops`` and with a gradient written out, so that it runs wherever Keras' backends do.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from keras import ops

from tfalign.functional.parts import put_part, take_part
from tfalign.functional.soft_cap import soft_cap_slope, soft_capped
from tfalign.layers.masks import Visibility
from tfalign.types import Array

TILE = 128  # queries, and keys, that are looked at together; see docs/results/attention.md
_NOWHERE = -1e30  # score of a key that may not be attended to
_LOWEST = -1e29  # where the largest score of a query begins: exp(_NOWHERE - _LOWEST) is 0


def blockwise_attention(
    queries: Array,
    keys: Array,
    values: Array,
    visible: Visibility,
    tile: int = TILE,
    score_cap: float | None = None,
) -> Array:
    """The outputs of ``scaled_dot_product_attention`` without ever holding its weights.

    The softmax is taken online: a tile's exponentials are added up beside the largest score so far, and what
    was added before is scaled down where a larger one appears. The backward pass takes a tile's scores once
    more, and its weights from each query's log(sum(exp(score))). Tiles in which no query may attend to any
    key, as far as columns tell, are left out: half of a causal mask's, nearly all of a narrow window's.
    Differentiable once.

    Args:
        queries: float[B, H, Q, D]; all shapes are known.
        keys: float[B, G, K, D], H a multiple of G.
        values: float[B, G, K, D].
        visible: Visibility.
        tile: int, queries and keys of a tile.
        score_cap: float, of ``soft_capped`` scores; None for none.

    Returns:
        float[B, H, Q, D].
    """
    batch, num_heads, num_queries, head_dim = queries.shape
    groups, num_keys = keys.shape[1:3]
    repeats = num_heads // groups
    tiles = _Tiles.of(visible, num_queries, num_keys, tile, repeats, score_cap)
    grouped = (batch, groups, repeats, num_queries, head_dim)
    query_tiles = _split(ops.reshape(queries * head_dim**-0.5, grouped), tile, axis=3)
    rows = (-1, batch, groups, repeats * tile, head_dim)
    outputs = _attend(
        ops.reshape(query_tiles, rows), _split(keys, tile, 2), _split(values, tile, 2), tiles
    )
    outputs = ops.reshape(outputs, query_tiles.shape)
    outputs = ops.reshape(
        ops.transpose(outputs, (1, 2, 3, 0, 4, 5)), (batch, num_heads, -1, head_dim)
    )
    return outputs[:, :, :num_queries]


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """Which pairs of tiles are looked at, and what is visible within them."""

    rule: Visibility  # its documents are int32[tiles, B, tile]
    pairs: (
        np.ndarray
    )  # int32[P, 2], numbers of a tile of queries and of one of keys, the former in order
    size: int
    num_keys: int
    repeats: int  # query heads of a key-value head, whose rows stand one after the other
    score_cap: float | None

    @classmethod
    def of(cls, visible, num_queries, num_keys, size, repeats, score_cap=None):
        documents, of_keys = visible.query_documents, visible.key_documents
        if of_keys is None and num_keys % size:
            of_keys = ops.ones((1, num_keys), "int32")  # what stands behind the last key is 0
        rule = dataclasses.replace(
            visible,
            query_documents=None if documents is None else _split(documents, size, 1),
            key_documents=None if of_keys is None else _split(of_keys, size, 1),
        )
        counts = -(-num_queries // size), -(-num_keys // size)
        pairs = _visible_pairs(visible, counts, size)
        return cls(rule, pairs, size, num_keys, repeats, score_cap)

    def arrays(self):
        """What the rule holds of arrays, by name: the gradient's function must be given them, not close over
        them, since JAX may call it where they are no more (``jax.checkpoint``)."""
        fields = {x.name: getattr(self.rule, x.name) for x in dataclasses.fields(self.rule)}
        kept = {name: x for name, x in fields.items() if not isinstance(x, int | None)}
        return {name: ops.convert_to_tensor(x) for name, x in kept.items()}

    def of_arrays(self, arrays):
        return dataclasses.replace(self, rule=dataclasses.replace(self.rule, **arrays))

    def mask(self, query_tile, key_tile):
        """bool broadcastable to [B, G, rows, tile]; None for all."""
        rule = self.rule
        documents, of_keys = rule.query_documents, rule.key_documents
        mask = dataclasses.replace(
            rule,
            query_documents=None if documents is None else take_part(documents, query_tile),
            key_documents=None if of_keys is None else take_part(of_keys, key_tile),
            first=rule.first + (query_tile - key_tile) * self.size,
        ).mask(self.size, self.size)
        several = mask is not None and self.repeats > 1 and mask.shape[-2] > 1
        return ops.tile(mask, (1, 1, self.repeats, 1)) if several else mask

    def scores(self, queries, keys, pair):
        """float32[B, G, rows, tile] of a tile of queries and one of keys."""
        scores = _product(queries, ops.transpose(keys, (0, 1, 3, 2)))
        scores = soft_capped(scores, self.score_cap)
        mask = self.mask(*pair)
        return scores if mask is None else ops.where(mask, scores, _NOWHERE)

    def loop(self, body, initial):
        """``body(pair, carried)`` over all pairs."""
        pairs = ops.convert_to_tensor(self.pairs)

        def of_number(number, carried):
            pair = take_part(pairs, number)
            return body((pair[0], pair[1]), carried)

        return ops.fori_loop(0, len(self.pairs), of_number, initial)


def _visible_pairs(visible, counts, size):
    """int32[P, 2]: the tiles in which a query may attend to some key, as far as columns tell."""
    pairs = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1).reshape(-1, 2)
    if not isinstance(visible.first, int):
        return pairs.astype("int32")
    distance = visible.first + (pairs[:, 0] - pairs[:, 1]) * size  # of the tiles' first columns
    seen = np.ones(len(pairs), "bool")
    if visible.causal:
        seen &= distance + size > 0
    if visible.window is not None:
        seen &= distance - size + 1 < visible.window
        seen &= visible.causal | (distance + size - 1 > -visible.window)
    return pairs[seen].astype("int32")


def _attend(queries, keys, values, tiles):
    """float[tiles, B, G, rows, D], of queries of that shape, keys and values float[tiles, B, G, tile, D]."""

    arrays = tiles.arrays()

    @ops.custom_gradient
    def attend(queries, keys, values, *given):
        own = tiles.of_arrays(dict(zip(arrays, given)))
        outputs, totals = _forward(queries, keys, values, own)
        mean = ops.sum(ops.cast(values, "float32"), axis=(0, 3), keepdims=True) / tiles.num_keys
        outputs = ops.cast(ops.where(_somewhere(totals), outputs, mean), values.dtype)

        def gradient(upstream):
            gradients = _backward(queries, keys, values, outputs, totals, upstream, own)
            return (*gradients, *(None for _ in given))

        return outputs, gradient

    return attend(queries, keys, values, *arrays.values())


def _forward(queries, keys, values, tiles):
    """(outputs, log(sum(exp(score))) of each query), float32; see ``_somewhere``."""

    def add(pair, carried):
        number = pair[0]
        outputs, sums, largest = (take_part(x, number) for x in carried)
        scores = tiles.scores(take_part(queries, number), take_part(keys, pair[1]), pair)
        larger = ops.maximum(largest, ops.max(scores, axis=-1, keepdims=True))
        weights, shrunk = ops.exp(scores - larger), ops.exp(largest - larger)
        more = _product(ops.cast(weights, values.dtype), take_part(values, pair[1]))
        sums = sums * shrunk + ops.sum(weights, axis=-1, keepdims=True)
        changed = outputs * shrunk + more, sums, larger
        return tuple(put_part(x, number, new) for x, new in zip(carried, changed))

    of_each = ops.zeros((*queries.shape[:-1], 1), "float32")
    nothing = ops.zeros(queries.shape, "float32"), of_each, of_each + _LOWEST
    outputs, sums, largest = tiles.loop(add, nothing)
    outputs = outputs / ops.where(sums > 0, sums, 1.0)
    return outputs, ops.where(sums > 0, largest + ops.log(ops.maximum(sums, 1e-37)), -_NOWHERE)


def _backward(queries, keys, values, outputs, totals, upstream, tiles):
    """Gradients for queries, keys and values."""
    flow = ops.cast(upstream, "float32")
    shared = ops.sum(flow * ops.cast(outputs, "float32"), axis=-1, keepdims=True)
    dtype = queries.dtype

    def add(pair, gradients):
        query, query_flow, total, of_query = (
            take_part(x, pair[0]) for x in (queries, upstream, totals, shared)
        )
        key, value = (take_part(x, pair[1]) for x in (keys, values))
        scores = tiles.scores(query, key, pair)
        weights = ops.exp(scores - total)
        by_weights = _product(query_flow, ops.transpose(value, (0, 1, 3, 2)))
        by_scores = weights * (by_weights - of_query)
        if tiles.score_cap is not None:
            by_scores = by_scores * soft_cap_slope(scores, tiles.score_cap)
        by_scores = ops.cast(by_scores, dtype)
        more = (
            _product(by_scores, key),
            _product(ops.transpose(by_scores, (0, 1, 3, 2)), query),
            _product(ops.transpose(ops.cast(weights, dtype), (0, 1, 3, 2)), query_flow),
        )
        places = zip(gradients, (pair[0], pair[1], pair[1]), more)
        return tuple(put_part(x, number, take_part(x, number) + y) for x, number, y in places)

    nothing = tuple(ops.zeros(x.shape, "float32") for x in (queries, keys, values))
    by_queries, by_keys, by_values = tiles.loop(add, nothing)
    of_means = ops.where(_somewhere(totals), 0.0, flow)
    by_values = by_values + ops.sum(of_means, axis=(0, 3), keepdims=True) / tiles.num_keys
    return tuple(ops.cast(x, dtype) for x in (by_queries, by_keys, by_values))


def _somewhere(totals):
    """bool: whether a query may look somewhere. The others have 1e30, from which all weights become 0."""
    return totals < -_NOWHERE


def _product(x, y):
    return ops.cast(ops.matmul(x, y), "float32")


def _split(x, size, axis):
    """[..., length, ...] to [tiles, ..., size, ...], zeros behind the last."""
    length = x.shape[axis]
    padding = [(0, 0)] * len(x.shape)
    padding[axis] = (0, -length % size)
    shape = (*x.shape[:axis], -1, size, *x.shape[axis + 1 :])
    return ops.moveaxis(ops.reshape(ops.pad(x, padding), shape), axis, 0)
