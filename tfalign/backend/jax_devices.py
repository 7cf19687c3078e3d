"""Where arrays lie on JAX, where one program spans all devices: ``keras.distribution`` says how rows and
variables are spread, and the compiler does the rest. And what processes tell each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from keras import tree


def spread(arguments: Any) -> Any:
    """Arguments on the mesh, if there is one: rows spread where it divides them, all else whole."""
    if mesh_and_rows()[0] is None:
        return arguments

    def place(x):
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        return jax.device_put(x, _place_of(x.shape))

    return tree.map_structure(place, arguments, none_is_leaf=False)


def abstract(arguments: Any) -> Any:
    """As ``spread``, of their shapes alone: each a ``jax.ShapeDtypeStruct`` with its place on the mesh."""

    def struct(x):
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        return jax.ShapeDtypeStruct(x.shape, dtype, sharding=_place_of(x.shape))

    return tree.map_structure(struct, arguments, none_is_leaf=False)


def abstract_variable(variable: keras.Variable) -> jax.ShapeDtypeStruct:
    """Shape, dtype and place on the mesh of a variable, which needs no value."""
    current = keras.distribution.distribution()
    place = None if current is None else current.get_variable_layout(variable).backend_layout
    return jax.ShapeDtypeStruct(variable.shape, variable.dtype, sharding=place)


def _place_of(shape):
    """Where an argument lies: spread by its rows, and its columns over "context", where the mesh divides them; None
    without a mesh."""
    mesh, axis = mesh_and_rows()
    if mesh is None:
        return None
    cut = (
        name if name in mesh.shape and size % mesh.shape[name] == 0 else None
        for name, size in zip((axis, "context"), shape)
    )
    return NamedSharding(mesh, PartitionSpec(*cut))


def whole(outputs: Any) -> Any:
    """Within a program: outputs that every device shall hold."""
    mesh, _ = mesh_and_rows()
    if mesh is None:
        return outputs
    place = NamedSharding(mesh, PartitionSpec())
    return tree.map_structure(
        lambda x: jax.lax.with_sharding_constraint(x, place), outputs, none_is_leaf=False
    )


def check_rows(arguments: Any) -> None:
    """Raises a ValueError if the mesh does not divide the rows of an argument."""
    mesh, axis = mesh_and_rows()
    for x in tree.flatten(arguments) if mesh is not None else ():
        if np.ndim(x) and np.shape(x)[0] % mesh.shape[axis]:
            raise ValueError(
                f"A batch of {np.shape(x)[0]} rows cannot be shared equally by {axis}:"
                f"{mesh.shape[axis]} of the mesh"
            )


def strategy() -> None:
    """None: there is no ``tf.distribute`` here."""
    return None


def process_index() -> int:
    """As in ``backend.tensorflow_devices``."""
    return jax.process_index()


def gather_from_processes(value: int) -> list[int]:
    """As in ``backend.tensorflow_devices``."""
    if jax.process_count() == 1:
        return [value]
    halves = np.array([value], np.int64).view(np.uint32)  # JAX has no 64 bits unless told to
    return multihost_utils.process_allgather(halves).ravel().view(np.int64).tolist()


def wait_for_others() -> None:
    """As in ``backend.tensorflow_devices``."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("tfalign")


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """As in ``backend.tensorflow_devices``."""
    value = variable.value
    if not (value.is_fully_addressable or value.is_fully_replicated):
        value = multihost_utils.process_allgather(value, tiled=True)
    return np.asarray(value)


def own_parts(variable: keras.Variable) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """As in ``backend.tensorflow_devices``."""
    value = variable.value
    if value.is_fully_addressable or value.is_fully_replicated:
        return [] if process_index() else [((0,) * value.ndim, np.asarray(value))]
    return [
        (tuple(place.start or 0 for place in shard.index), np.asarray(shard.data))
        for shard in value.addressable_shards
        if shard.replica_id == 0
    ]


def is_sharded(variable: keras.Variable) -> bool:
    """As in ``backend.tensorflow_devices``."""
    return not variable.value.is_fully_replicated


def assign_shards(
    variable: keras.Variable, read: Callable[[tuple[slice, ...]], np.ndarray]
) -> None:
    """As in ``backend.tensorflow_devices``."""
    shape, place = tuple(variable.shape), variable.value.sharding
    blocks = {}  # several devices may hold one

    def block(at):
        key = str(at)
        if key not in blocks:
            blocks[key] = np.asarray(read(at)).astype(variable.dtype)
        return blocks[key]

    variable.assign(jax.make_array_from_callback(shape, place, block))


def platform() -> str:
    """As in ``backend.tensorflow_devices``: the mesh's, which need not be here."""
    mesh, _ = mesh_and_rows()
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def mesh_and_rows() -> tuple[jax.sharding.Mesh | None, str | None]:
    """(the mesh, name of the axis that rows are spread over); (None, None) without one."""
    current = keras.distribution.distribution()
    if current is None:
        return None, None
    return current.device_mesh.backend_mesh, current.batch_dim_name
