"""Work that only some rows of a batch need, in programs of static shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops, tree

from tfalign.functional.arrays import Array

ROWS_AT_ONCE = 8


def few_rows_at_a_time(
    lack: Callable[..., Array],
    work: Callable[..., tuple],
    values: tuple,
    at_once: int = ROWS_AT_ONCE,
) -> tuple:
    """Repeats work on the rows with the most left to do, a fixed number at a time, until none is left.

    Where a few rows of a batch need something in almost every step, it costs about as much as those
    few; where all need it at once, hardly more than in one go.

    Args:
        lack: ``(*values) -> int32[B]``, how much of the work a row still needs; 0 or less for none.
        work: ``(rows int32[K], *values) -> values``; it must lessen what these rows lack, and do no
            harm to those among them that lack nothing.
        values: tuple of nested tensors, which keep their shapes and dtypes.
        at_once: int, K where B is not smaller.

    Returns:
        The values after the last round.
    """
    count = ops.shape(lack(*values))[0]
    # a batch whose size is not known before the program runs is found in programs to be saved
    most = min(at_once, count) if isinstance(count, int) else ops.minimum(at_once, count)
    return ops.while_loop(
        lambda *values: ops.any(lack(*values) > 0),
        lambda *values: work(ops.top_k(lack(*values), most)[1], *values),
        values,
    )


def take_rows(rows: Array, tree_of_arrays: Any) -> Any:
    """These rows int32[K] of every array."""
    return tree.map_structure(lambda x: ops.take(x, rows, axis=0), tree_of_arrays)


def put_rows(rows: Array, tree_of_arrays: Any, values: Any) -> Any:
    """The arrays with these rows int32[K] replaced."""
    return tree.map_structure(
        lambda x, new: ops.scatter_update(x, rows[:, None], new), tree_of_arrays, values
    )
