"""Sequences cut over the "context" axis of a mesh: every device has queries of its own and gathers all keys and values
(Llama Team 2024, section 3.3.2); what is done token by token the compiler cuts by itself."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec

from tfalign.backend import jax_devices

CONTEXT = "context"


def on_own_queries(
    attend: Callable,
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    query_documents: jax.Array | None,
    key_documents: jax.Array | None,
) -> jax.Array:
    """As in ``backend.tensorflow``."""
    documents = query_documents, key_documents
    rows, heads, context = axes_of(queries.shape, keys.shape[1])
    if context is None:
        return attend(queries, keys, values, *documents, 0)

    def on_device(queries, keys, values, query_documents, key_documents):
        first = jax.lax.axis_index(context) * queries.shape[2]
        return attend(queries, keys, values, query_documents, key_documents, first)

    of_queries, of_keys = PartitionSpec(rows, heads, context), PartitionSpec(rows, heads)
    in_specs = of_queries, of_keys, of_keys, PartitionSpec(rows, context), PartitionSpec(rows)
    mesh, _ = jax_devices.mesh_and_rows()
    on_each = jax.shard_map(
        on_device, mesh=mesh, in_specs=in_specs, out_specs=of_queries, check_vma=False
    )
    return on_each(queries, keys, values, *documents)


def axes_of(shape: tuple[int, ...], groups: int) -> tuple[str | None, str | None, str | None]:
    """Axes of the mesh that cut rows, heads and columns of queries [B, H, Q, D] with G key-value heads; None for each that
    is absent, or does not divide them."""
    mesh, axis = jax_devices.mesh_and_rows()
    sizes = {axis: shape[0], "model": groups, CONTEXT: shape[2]}
    return tuple(
        name if mesh is not None and name in mesh.shape and size % mesh.shape[name] == 0 else None
        for name, size in sizes.items()
    )


def parts() -> int:
    """How many devices share a sequence."""
    mesh, _ = jax_devices.mesh_and_rows()
    return 1 if mesh is None else mesh.shape.get(CONTEXT, 1)
