"""Scaled dot-product attention: with its weights, or its outputs alone in the way that suits their size."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign import backend
from tfalign.functional.soft_cap import soft_capped
from tfalign.layers.blockwise import TILE, blockwise_attention
from tfalign.layers.masks import Visibility
from tfalign.types import Array

MATERIALISED = (
    256**2
)  # queries x keys up to which weights are held: no slower, see docs/results/attention.md


def scaled_dot_product_attention(
    queries: Array,
    keys: Array,
    values: Array,
    mask: Visibility | Array | None = None,
    score_cap: float | None = None,
) -> tuple[Array, Array]:
    """softmax(Q K^T / sqrt(D)) V (Vaswani et al. 2017, eq. 1), the softmax in float32.

    With fewer key-value heads than query heads, each serves H / G consecutive query heads
    (grouped-query attention, Ainslie et al. 2023).

    Args:
        queries: float[B, H, Q, D].
        keys: float[B, G, K, D], H a multiple of G.
        values: float[B, G, K, D].
        mask: Visibility, or bool broadcastable to [B, H, Q, K], true where a query may look; None for
            everywhere. A query that may look nowhere gets the mean of all values, not NaN.
        score_cap: float, of ``soft_capped`` scores; None for none.

    Returns:
        (outputs float[B, H, Q, D], weights float[B, H, Q, K]).
    """
    batch, num_heads, num_queries, head_dim = ops.shape(queries)
    _, groups, num_keys, _ = ops.shape(keys)
    if isinstance(mask, Visibility):
        mask = mask.mask(num_queries, num_keys)
    rows = num_heads // groups * num_queries
    grouped = ops.reshape(queries * head_dim**-0.5, (batch, groups, rows, head_dim))
    scores = ops.matmul(grouped, ops.transpose(keys, (0, 1, 3, 2)))
    scores = ops.cast(ops.reshape(scores, (batch, num_heads, num_queries, num_keys)), "float32")
    scores = soft_capped(scores, score_cap)
    if mask is not None:
        scores = ops.where(mask, scores, -1e30)
    weights = ops.cast(ops.softmax(scores, axis=-1), values.dtype)
    outputs = ops.matmul(ops.reshape(weights, (batch, groups, rows, num_keys)), values)
    return ops.reshape(outputs, (batch, num_heads, num_queries, head_dim)), weights


def attended(
    queries: Array,
    keys: Array,
    values: Array,
    mask: Visibility | Array | None = None,
    score_cap: float | None = None,
) -> Array:
    """The outputs of ``scaled_dot_product_attention``, arguments as there; of long sequences by the devices' own
    kernel where there is one (splash attention on TPUs), else by ``blockwise_attention``."""
    shapes = *queries.shape, *keys.shape
    by_rule = mask is None or isinstance(mask, Visibility)
    if by_rule and None not in shapes and is_long(queries.shape[2], keys.shape[2]):
        rule = mask or Visibility()
        given = queries, keys, values, rule, score_cap
        outputs = _by_kernel(*given)
        return _by_tiles(*given) if outputs is None else outputs
    return scaled_dot_product_attention(queries, keys, values, mask, score_cap)[0]


def _by_kernel(queries, keys, values, rule, score_cap):
    """The outputs, or None: the kernels are for self-attention of all columns."""
    if queries.shape[2] != keys.shape[2] or not isinstance(rule.first, int) or rule.first:
        return None
    given = {x.name: getattr(rule, x.name) for x in dataclasses.fields(rule) if x.name != "first"}
    return backend.kernel_attention(queries, keys, values, score_cap=score_cap, **given)


def _by_tiles(queries, keys, values, rule, score_cap):
    if not isinstance(rule.first, int):
        return blockwise_attention(queries, keys, values, rule, score_cap=score_cap)

    def attend(queries, keys, values, query_documents, key_documents, first):
        documents = {"query_documents": query_documents, "key_documents": key_documents}
        own = dataclasses.replace(rule, **documents, first=rule.first + first)
        return blockwise_attention(queries, keys, values, own, score_cap=score_cap)

    documents = rule.query_documents, rule.key_documents
    return backend.on_own_queries(attend, queries, keys, values, *documents)


def is_long(num_queries: int, num_keys: int) -> bool:
    """Whether so many queries and keys are looked at blockwise."""
    return num_queries >= TILE and num_queries * num_keys > MATERIALISED
