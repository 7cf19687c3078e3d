"""Splash attention, the kernel for TPUs that ``jax.experimental.pallas`` has; ``backend.kernel_attention`` chooses it."""

from __future__ import annotations

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import NamedSharding, PartitionSpec

from tfalign.backend import jax_context, jax_devices

_LANES = 128  # lengths are multiples of it
_KEYS_AT_ONCE = 1024
_BLOCKS = (
    512,
    256,
    128,
)  # queries, and keys, that the kernel looks at together: the largest that fits


def splash_attention(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    query_documents: jax.Array | None = None,
    key_documents: jax.Array | None = None,
    causal: bool = False,
    window: int | None = None,
    score_cap: float | None = None,
    interpret: bool = False,
) -> jax.Array | None:
    """As ``backend.kernel_attention``, on a TPU, or interpreted on any device.

    Returns:
        float[B, H, T, D]; None where the mesh does not divide rows or heads.
    """
    length = queries.shape[2]
    ids = _documents(queries, query_documents, key_documents)
    padding = -length % (_LANES * jax_context.parts())
    wide, narrow = ((0, 0), (0, 0), (0, padding), (0, 0)), ((0, 0), (0, padding))
    heads = [jax.numpy.pad(x, wide) for x in (queries * queries.shape[-1] ** -0.5, keys, values)]
    ids = [jax.numpy.pad(x, narrow) for x in ids]
    mask = _mask(length + padding, causal, window)
    outputs = _on_each_device(mask, score_cap, interpret, *heads, *ids)
    return None if outputs is None else outputs[:, :, :length]


def _documents(queries, of_queries, of_keys):
    """int32[B, T] of queries and of keys, 0 at padding, which so attends to itself: no query's softmax is empty."""
    if of_keys is None:
        of_keys = jax.numpy.ones((queries.shape[0], queries.shape[2]), "int32")
    if of_queries is None:
        return jax.numpy.minimum(of_keys, 1), of_keys
    return jax.numpy.maximum(of_queries, 0), of_keys


def _mask(length, causal, window):
    shape = (length, length)
    if window is not None:
        return masks.LocalMask(shape, (window - 1, 0 if causal else window - 1), 0)
    return masks.CausalMask(shape) if causal else masks.FullMask(shape)


def _block_sizes(num_queries, num_keys, head_dim):
    """Sizes and layouts. Heads narrower than the lanes lie with their columns along them, as the projections give them:
    nothing is transposed nor padded. One kernel makes all gradients where a block has all keys: the queries', a part for
    each block of keys, have one part."""
    size = next(x for x in _BLOCKS if num_queries % x == 0)
    layouts = {}
    if head_dim < _LANES:
        layouts = {f"{x}_layout": splash.QKVLayout.SEQ_MINOR for x in "qkv"}
    at_once = num_keys <= _KEYS_AT_ONCE
    return splash.BlockSizes(
        block_q=size,
        block_kv=size,
        block_q_dkv=size,
        block_kv_dkv=num_keys if at_once else size,
        block_kv_dkv_compute=size,
        block_q_dq=None if at_once else size,
        block_kv_dq=None if at_once else size,
        use_fused_bwd_kernel=at_once,
        **layouts,
    )


def _on_each_device(mask, score_cap, interpret, queries, keys, values, query_ids, key_ids):
    """On each device's rows, heads and queries: the compiler cannot divide a kernel. None if the mesh does not."""
    mesh, axis = jax_devices.mesh_and_rows()
    rows, heads, context = axes = jax_context.axes_of(queries.shape, keys.shape[1])
    if mesh is not None and None in axes[: 1 + ("model" in mesh.shape)]:
        return None
    of_axis = {None: 1} if mesh is None else {None: 1, **mesh.shape}
    kernel = splash.make_splash_mha(
        masks.MultiHeadMask([mask] * queries.shape[1]),
        block_sizes=_block_sizes(
            queries.shape[2] // of_axis[context], keys.shape[2], keys.shape[3]
        ),
        head_shards=of_axis[heads],
        q_seq_shards=of_axis[context],
        attn_logits_soft_cap=score_cap,
        interpret=interpret,
    )

    def attend(kernel, queries, keys, values, query_ids, key_ids):
        return jax.vmap(kernel)(queries, keys, values, splash.SegmentIds(query_ids, key_ids))

    given = kernel, queries, keys, values, query_ids, key_ids
    if mesh is None:
        return attend(*given)
    of_kernel = kernel.manual_sharding_spec(NamedSharding(mesh, PartitionSpec(heads, context)))
    of_queries, of_keys = PartitionSpec(rows, heads, context), PartitionSpec(rows, heads)
    ids = PartitionSpec(rows, context), PartitionSpec(rows)
    in_specs = (of_kernel, of_queries, of_keys, of_keys, *ids)
    on_each = jax.shard_map(
        attend, mesh=mesh, in_specs=in_specs, out_specs=of_queries, check_vma=False
    )
    return on_each(*given)
