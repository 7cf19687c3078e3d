"""``jit_rows``, ``strategy`` and what processes tell each other on TensorFlow: what
``tf.distribute`` adds where there is more than one device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from tfalign.backend.tensorflow import jit


def strategy() -> tf.distribute.Strategy | None:
    """The ``tf.distribute.Strategy`` in whose scope this is called; None for one device."""
    return tf.distribute.get_strategy() if tf.distribute.has_strategy() else None


def jit_rows(function: Callable, variables: Sequence[keras.Variable] = ()) -> Callable:
    """As ``jit``, for a function whose every row depends on that row of its arguments alone.

    Made in the scope of a strategy, each replica does its share of the rows, and every process
    gets all that come out; numbers are those of one device.

    Args:
        function: takes arrays of B rows, and scalars that belong to all rows; returns (nested)
            arrays of B rows, or None.
        variables: see ``jit``.

    Returns:
        A function with ``traces``. It raises a ValueError if B rows cannot be shared equally.
    """
    current = strategy()
    return jit(function, variables) if current is None else _RowsOnReplicas(current, function)


def platform() -> str:
    """Of the devices that programs are made for: "cpu", "gpu" or "tpu"."""
    found = {device.device_type.lower() for device in tf.config.list_logical_devices()}
    return next((name for name in ("tpu", "gpu") if name in found), "cpu")


def process_index() -> int:
    """Which of the processes that train together this one is; the first is 0."""
    resolver = _resolver()
    if resolver is None:
        return 0
    chiefs = len(resolver.cluster_spec().as_dict().get("chief", ()))
    return (resolver.task_id or 0) + (chiefs if resolver.task_type == "worker" else 0)


def gather_from_processes(value: int) -> list[int]:
    """What every process says, once all have come here.

    Args:
        value: int, of this process.

    Returns:
        list of int, one for each process, in their order.
    """
    if _resolver() is None:
        return [value]
    current = strategy()
    said = current.run(_gather_program(current), args=(tf.constant([value], tf.int64),))
    of_replicas = current.experimental_local_results(said)
    return of_replicas[0].numpy()[:: len(of_replicas)].tolist()


@functools.cache
def _gather_program(strategy):
    """One program a strategy: it runs after every update."""
    del strategy

    def gathered(x):
        own = tf.identity(x)  # on the replica's device, where an argument has none
        return tf.distribute.get_replica_context().all_gather(own, 0)

    return tf.function(gathered)


def wait_for_others() -> None:
    """Returns when every process has come here."""
    gather_from_processes(0)


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """A Keras variable's value as a NumPy array, whole. Where its parts lie on several machines every
    process must ask, in the same order."""
    return ops.convert_to_numpy(ops.copy(variable.value))  # a mirrored scalar's own way fails


def own_parts(variable: keras.Variable) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """What this process is to write of a variable, so that all of it is written once.

    Returns:
        list of (tuple of int, where a part begins, and the part as a NumPy array).
    """
    return [] if process_index() else [((0,) * len(variable.shape), to_numpy(variable))]


def is_sharded(variable: keras.Variable) -> bool:
    """Whether no device holds all of a variable: only on a mesh, which is JAX's."""
    del variable
    return False


def assign_shards(
    variable: keras.Variable, read: Callable[[tuple[slice, ...]], np.ndarray]
) -> None:
    """Sets a variable that is sharded.

    Args:
        variable: keras.Variable, of which ``is_sharded``.
        read: a slice an axis -> the block of the variable; called for what the devices of this process hold, once each.
    """
    raise NotImplementedError("TensorFlow's variables are whole on every device.")


def share_rows(strategy: tf.distribute.Strategy, arguments: Any) -> Any:
    """Every replica's share of the rows, as ``Strategy.run`` takes it.

    Args:
        strategy: tf.distribute.Strategy.
        arguments: nested arrays, the same in every process; those of B rows are cut, scalars are
            given whole.

    Raises:
        ValueError: if a number of rows is not divisible by that of the replicas.
    """
    replicas = strategy.num_replicas_in_sync

    def share_of(context):
        index = context.replica_id_in_sync_group

        def share(x):
            x = tf.convert_to_tensor(x)
            if not x.shape.rank:
                return x
            rows = x.shape[0] // replicas
            return x[index * rows : (index + 1) * rows]

        return tree.map_structure(share, arguments, none_is_leaf=False)

    tree.map_structure(lambda x: _check_divisible(x, replicas), arguments, none_is_leaf=False)
    return strategy.experimental_distribute_values_from_function(share_of)


class _RowsOnReplicas:
    """What ``jit_rows`` returns in the scope of a strategy."""

    def __init__(self, strategy, function):
        self._strategy = strategy
        self._compiled = jit(function)
        self._run = tf.function(self._distributed, autograph=False)

    @property
    def traces(self):
        return self._compiled.traces

    def __call__(self, *arguments):
        return self._run(share_rows(self._strategy, arguments))

    def _distributed(self, arguments):
        outputs = self._strategy.run(self._gathered, args=(arguments,))
        return tree.map_structure(
            lambda x: self._strategy.experimental_local_results(x)[0], outputs, none_is_leaf=False
        )

    def _gathered(self, arguments):
        context = tf.distribute.get_replica_context()
        outputs = self._compiled(*arguments)
        return tree.map_structure(lambda x: _all_gather(context, x), outputs, none_is_leaf=False)


def _all_gather(context, x):
    """All replicas' rows; collectives carry no booleans."""
    carried = tf.cast(x, tf.int32) if x.dtype == tf.bool else x
    return tf.cast(context.all_gather(carried, axis=0), x.dtype)


def _check_divisible(x, replicas):
    shape = tf.convert_to_tensor(x).shape
    if shape.rank and shape[0] % replicas:
        raise ValueError(
            f"A batch of {shape[0]} rows cannot be shared equally by {replicas} replicas"
        )


def _resolver():
    """Who the workers are, of a strategy over several processes; None otherwise."""
    return getattr(strategy(), "cluster_resolver", None)
