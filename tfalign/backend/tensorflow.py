"""``jit``, ``value_and_grad``, ``fori_loop`` and ``assign_part`` on TensorFlow."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops, tree

from tfalign.backend.programs import note_program


def _has_started():
    """Whether TensorFlow has started its threads: from then on their number cannot be changed."""
    threading = tf.config.threading
    count = threading.get_inter_op_parallelism_threads()
    try:
        threading.set_inter_op_parallelism_threads(count + 1)
    except RuntimeError:
        return True
    threading.set_inter_op_parallelism_threads(count)
    return False


class _Fork:
    """Whether this process was forked from one in which TensorFlow had started. A fork copies no
    threads, so a program would wait for ever."""

    has_no_threads = False


def _note_fork():
    _Fork.has_no_threads = _Fork.has_no_threads or _has_started()


os.register_at_fork(after_in_child=_note_fork)


class jit:
    """A function compiled by XLA, one program per combination of input shapes and dtypes.

    Args:
        function: takes and returns (nested) tensors; it may read and assign Keras variables, all
            of which must exist before the first call.
        variables: the Keras variables it touches; TensorFlow finds them by itself.

    Attributes:
        traces: how often the function was traced, which is how many programs were compiled.

    Raises:
        RuntimeError: in a call, in a process forked from one in which TensorFlow had started.
    """

    def __init__(self, function: Callable, variables: Sequence[keras.Variable] = ()) -> None:
        del variables
        self.traces = 0

        @functools.wraps(function)  # TensorFlow's retracing warnings then count per function
        def traced(*args):
            self.traces += 1
            note_program(function, self.traces, args)
            return function(*args)

        self._compiled = tf.function(traced, jit_compile=True, autograph=False)

    def __call__(self, *args: Any) -> Any:
        if _Fork.has_no_threads:
            raise RuntimeError(
                "This process was forked after TensorFlow had started, and would wait for ever: begin "
                'it with "spawn" (gymnasium.make_vec: vector_kwargs={"context": "spawn"})'
            )
        return self._compiled(*tree.map_structure(tf.convert_to_tensor, args, none_is_leaf=False))


jit_batch = jit  # several replicas share a batch by ``training.replicas``


def value_and_grad(
    function: Callable, variables: Sequence[keras.Variable]
) -> tuple[tf.Tensor, Any, list[tf.Tensor]]:
    """Value, auxiliary output and gradients of a scalar function of no arguments.

    Args:
        function: ``() -> (scalar, auxiliary)``.
        variables: list of Keras variables.

    Returns:
        ``(scalar, auxiliary, gradients)``; a variable the scalar does not depend on gets zeros.
    """
    with tf.GradientTape() as tape:
        value, auxiliary = function()
    gradients = tape.gradient(
        value, [v.value for v in variables], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return value, auxiliary, [tf.convert_to_tensor(g) for g in gradients]


def input_gradient(function: Callable, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """A scalar function's value and its gradient for its one argument.

    Args:
        function: ``tensor -> scalar``.
        x: float[...].

    Returns:
        (scalar, float[...]).
    """
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return value, tape.gradient(value, x)


def fori_loop(lower: int, upper: int, body: Callable, initial: Any) -> Any:
    """A loop within a compiled function, whose body may assign Keras variables.

    Args:
        lower: int.
        upper: int.
        body: ``(index, values) -> values``, nested tensors that keep their shapes and dtypes.
        initial: values before the first round.

    Returns:
        The values after the last round.
    """
    return ops.fori_loop(lower, upper, body, initial)


def scan(body: Callable, carried: Any, rows: Sequence[Sequence[Any]]) -> Any:
    """A loop over rows of arrays within a compiled function, through which gradients flow.

    The arrays are stacked first: a copy of them all.

    Args:
        body: ``(arrays, row) -> arrays``, which keep their shapes and dtypes: an array, or a tuple of them.
        carried: arrays before the first round.
        rows: a list of arrays for each round, of the same shapes and dtypes in all.

    Returns:
        The arrays after the last round.
    """
    # A list that is popped: its gradient is pushed to, a row a round. That of an array that is
    # indexed would be as large as the array in every round.
    columns = [tf.reverse(tf.stack(column), [0]) for column in zip(*rows)]
    shapes = [tf.constant(column.shape[1:].as_list(), tf.int32) for column in columns]
    lists = [
        tf.raw_ops.TensorListFromTensor(tensor=column, element_shape=shape)
        for column, shape in zip(columns, shapes)
    ]

    def step(index, carried, lists):
        rest, row = [], []
        for column, shape, values in zip(columns, shapes, lists):
            values, last = tf.raw_ops.TensorListPopBack(
                input_handle=values, element_shape=shape, element_dtype=column.dtype
            )
            rest.append(values)
            row.append(tf.ensure_shape(last, column.shape[1:]))
        return index + 1, body(carried, row), rest

    first = tf.constant(0), carried, lists
    rounds = len(rows)
    return tf.while_loop(lambda i, *_: i < rounds, step, first, maximum_iterations=rounds)[1]


def if_true(
    predicate: tf.Tensor, function: Callable[[], Any], variables: Sequence[keras.Variable]
) -> None:
    """Calls a function that assigns Keras variables, within a program, where a predicate holds.

    A branch rather than a choice between old and new values: the program has no second copy of them.

    Args:
        predicate: bool[].
        function: takes nothing; what it returns is not looked at.
        variables: list of the Keras variables it may assign.
    """
    del variables

    def call():
        function()
        return True

    tf.cond(predicate, call, lambda: False)


def kernel_attention(queries: Any, keys: Any, values: Any, **rule: Any) -> Any | None:
    """Self-attention by a kernel of the devices that a program is traced for; None where there is none.

    A query that may look nowhere, such as padding, gets numbers without a meaning.

    Args:
        queries: float[B, H, T, D].
        keys: float[B, G, T, D], H a multiple of G.
        values: float[B, G, T, D].
        rule: ``query_documents``, ``key_documents``, ``causal`` and ``window`` of ``layers.Visibility``, and
            ``score_cap``, of soft-capped scores.

    Returns:
        float[B, H, T, D] or None.
    """
    return None


def on_own_queries(
    attend: Callable,
    queries: Any,
    keys: Any,
    values: Any,
    query_documents: Any | None,
    key_documents: Any | None,
) -> Any:
    """Attention of which every device of a mesh's "context" axis has a part of the queries, and all keys.

    Args:
        attend: ``(queries, keys, values, query_documents, key_documents, first) -> float[B, H, Q, D]`` of some of the
            queries, the first of which is in column ``first``, an int or int32 scalar.
        queries: float[B, H, Q, D].
        keys: float[B, G, K, D], H a multiple of G.
        values: float[B, G, K, D].
        query_documents: int32[B, Q] or None.
        key_documents: int32[B, K] or None.

    Returns:
        float[B, H, Q, D].
    """
    return attend(queries, keys, values, query_documents, key_documents, 0)


def by_rows(function: Callable, x: Any) -> Any:
    """What a function makes of an array's last axis, such as a product with a matrix.

    JAX's gradient of a product with a matrix, of an array of three axes, is one that XLA on CPUs transposes the array
    for, and computes again what leads to it; so there the function gets a matrix.

    Args:
        function: ``float[..., W] -> float[..., U]``, of each row by itself.
        x: float[..., W].

    Returns:
        float[..., U].
    """
    return function(x)


def read(variable: keras.Variable) -> tf.Tensor:
    """A Keras variable's value as it is now, whatever is assigned to it later."""
    return tf.convert_to_tensor(variable.value)


def has_value(x: Any) -> bool:
    """Whether an array can be looked at now: it is not part of a program that is still being traced."""
    return not tf.is_symbolic_tensor(x)


def assign_part(variable: keras.Variable, values: Any, start: int, axis: int) -> None:
    """Sets part of a Keras variable, without a second copy of it where the backend can.

    Args:
        variable: Keras variable.
        values: array, cast to the variable's dtype; as large as the variable but along ``axis``.
        start: int, where on the axis its first element goes.
        axis: int; not looked at where ``values`` is the whole.
    """
    values, shape = tf.cast(values, variable.dtype), variable.shape
    if values.shape == shape:
        variable.assign(values)
        return
    begin, end = [0] * len(shape), list(shape)
    begin[axis], end[axis] = start, start + values.shape[axis]
    # not `variable.value[...]`, which reads the variable first: then writing copies it whole
    for copy in getattr(variable.value, "values", [variable.value]):  # one a replica
        tf.raw_ops.ResourceStridedSliceAssign(
            ref=copy.handle, begin=begin, end=end, strides=[1] * len(shape), value=values
        )
