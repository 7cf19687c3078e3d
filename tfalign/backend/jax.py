"""``jit``, ``value_and_grad``, ``fori_loop`` and ``assign_part`` on JAX, where Keras variables are
threaded through by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras

from tfalign.backend import jax_ahead, jax_context, jax_devices
from tfalign.backend.programs import note_program


class _Scope(keras.StatelessScope):
    """One that remembers the variables that were set, not their ids alone."""

    def __init__(self, state_mapping=()):
        super().__init__(state_mapping=state_mapping)
        self.changed = {}

    def add_update(self, update):
        self.changed[id(update[0])] = update[0]
        super().add_update(update)


_open_scopes: list[_Scope] = []


class jit:
    """As in ``backend.tensorflow``; JAX must be told the variables the function touches.

    Those it changes are found by a trace of its own; their buffers are donated, so that an update needs
    no second copy of them. On a mesh of devices (``keras.distribution``) arguments whose rows it divides
    are spread over it, and every device holds all that comes out. Within ``jax_ahead.compiled_only``
    nothing runs.
    """

    def __init__(self, function: Callable, variables: Sequence[keras.Variable] = ()) -> None:
        self.traces = 0
        self._function = function
        self._variables = list({id(v): v for v in variables}.values())
        self._changed = None  # numbers of the variables the function changes

        def program(donated, kept, args):
            return self._pure(donated, kept, args)

        program.__name__ = getattr(function, "__name__", "program")  # what profiles and dumps say
        self._compiled = jax.jit(program, donate_argnums=0)

    def __call__(self, *args: Any) -> Any:
        if (recorder := jax_ahead.recorder()) is not None:
            name = getattr(self._function, "__name__", "program")
            return recorder.call(name, self.lower, jax_devices.abstract(args))
        args = jax_devices.spread(args)
        outputs, values = self._compiled(*self._inputs([v.value for v in self._variables], args))
        for i, value in zip(self._changed, values):
            self._variables[i].assign(value)
        return outputs

    def lower(self, args: Any) -> jax.stages.Lowered:
        """The program of arguments whose shapes alone are looked at, not compiled yet; it returns what
        the function does, and the variables that this changes.

        Args:
            args: tuple of the function's arguments, see ``jax_devices.abstract``.
        """
        values = [jax_devices.abstract_variable(variable) for variable in self._variables]
        return self._compiled.lower(*self._inputs(values, args))

    def _inputs(self, values, args):
        """(variables' values to be donated, the others', arguments)."""
        if self._changed is None:
            self._changed = self._find_changed(values, args)
        donated = [values[i] for i in self._changed]
        kept = {i: value for i, value in enumerate(values) if i not in self._changed}
        return donated, kept, args

    def _pure(self, donated, kept, args):
        self.traces += 1
        note_program(self._function, self.traces, args)
        values = {**kept, **dict(zip(self._changed, donated))}
        outputs, scope = self._traced(values, args)
        changed = [scope.get_current_value(self._variables[i]) for i in self._changed]
        return jax_devices.whole(outputs), changed

    def _find_changed(self, values, args):
        changed = []

        def trace(values, args):
            outputs, scope = self._traced(values, args)
            changed.extend(
                i
                for i, variable in enumerate(self._variables)
                if scope.get_current_value(variable) is not values[i]
            )
            return outputs

        jax.eval_shape(trace, dict(enumerate(values)), args)
        return changed

    def _traced(self, values, args):
        mapping = [(variable, values[i]) for i, variable in enumerate(self._variables)]
        with _open_scope(mapping) as scope:
            outputs = self._function(*args)
        return outputs, scope


class jit_batch(jit):
    """As ``jit``, for a function of a batch. Raises a ValueError if the mesh does not divide its rows."""

    def __call__(self, *args: Any) -> Any:
        jax_devices.check_rows(args)
        return super().__call__(*args)


jit_rows = jit_batch  # a program spans all devices: a row need not depend on itself alone


def value_and_grad(
    function: Callable, variables: Sequence[keras.Variable]
) -> tuple[jax.Array, Any, list[jax.Array]]:
    """As in ``backend.tensorflow``."""
    if not _open_scopes:
        return _eagerly(value_and_grad, function, variables)
    outer = _open_scopes[-1]

    def of_values(values):
        with _Scope(zip(variables, values)) as scope:
            scope.state_mapping = {**outer.state_mapping, **scope.state_mapping}
            value, auxiliary = function()
        outer.changed.update(scope.changed)
        return value, (auxiliary, scope.state_mapping)

    (value, (auxiliary, state)), gradients = jax.value_and_grad(of_values, has_aux=True)(
        [v.value for v in variables]
    )
    outer.state_mapping.update(state)  # dropout seeds and other state that moved on
    return value, auxiliary, gradients


def input_gradient(function: Callable, x: Any) -> tuple[jax.Array, jax.Array]:
    """As in ``backend.tensorflow``."""
    return jax.value_and_grad(function)(x)


def fori_loop(lower: int, upper: int, body: Callable, initial: Any) -> Any:
    """As in ``backend.tensorflow``."""
    if not _open_scopes:
        values = initial
        for index in range(lower, upper):
            values = body(index, values)
        return values
    outer = _open_scopes[-1]

    def thread(index, carried):
        values, state = carried
        with _open_scope(()) as scope:
            scope.state_mapping = dict(state)
            values = body(index, values)
        return values, {variable: scope.state_mapping[variable] for variable in state}

    values, state = jax.lax.fori_loop(lower, upper, thread, (initial, dict(outer.state_mapping)))
    outer.state_mapping.update(state)
    return values


def scan(body: Callable, carried: Any, rows: Sequence[Sequence[Any]]) -> Any:
    """As in ``backend.tensorflow``."""
    stacked = [jax.numpy.stack(column) for column in zip(*rows)]
    return jax.lax.scan(lambda x, row: (body(x, row), None), carried, stacked)[0]


def if_true(
    predicate: jax.Array, function: Callable[[], Any], variables: Sequence[keras.Variable]
) -> None:
    """As in ``backend.tensorflow``."""
    if not _open_scopes:
        if predicate:
            function()
        return
    outer = _open_scopes[-1]

    def call(values):
        with _open_scope(()) as scope:
            scope.state_mapping = dict(outer.state_mapping)
            for variable, value in zip(variables, values):
                variable.assign(value)
            function()
        return [scope.get_current_value(variable) for variable in variables]

    before = [variable.value for variable in variables]
    after = jax.lax.cond(predicate, call, lambda values: values, before)
    for variable, value in zip(variables, after):
        variable.assign(value)


def kernel_attention(
    queries: jax.Array, keys: jax.Array, values: jax.Array, **rule: Any
) -> jax.Array | None:
    """As in ``backend.tensorflow``."""
    if jax_devices.platform() != "tpu":
        return None
    from tfalign.backend.jax_splash import splash_attention  # takes its time to import

    return splash_attention(queries, keys, values, **rule)


def by_rows(function: Callable, x: jax.Array) -> jax.Array:
    """As in ``backend.tensorflow``."""
    if (
        len(x.shape) < 3
        or None in x.shape
        or jax_devices.platform() != "cpu"
        or jax_context.parts() > 1
    ):
        return function(x)
    y = function(keras.ops.reshape(x, (-1, x.shape[-1])))
    return keras.ops.reshape(y, (*x.shape[:-1], y.shape[-1]))


def read(variable: keras.Variable) -> jax.Array:
    """As in ``backend.tensorflow``."""
    return variable.value


def has_value(x: Any) -> bool:
    """As in ``backend.tensorflow``."""
    return not isinstance(x, jax.core.Tracer)


def assign_part(variable: keras.Variable, values: Any, start: int, axis: int) -> None:
    """As in ``backend.tensorflow``."""
    values = jax.numpy.asarray(values, variable.dtype)
    if values.shape != tuple(variable.shape):
        whole = variable.value
        place = [slice(None)] * whole.ndim
        place[axis] = slice(start, start + values.shape[axis])
        values = whole.at[tuple(place)].set(values)
    variable.assign(values)


@contextlib.contextmanager
def _open_scope(state_mapping):
    """The innermost scope, whose variables ``value_and_grad`` and ``fori_loop`` go on from."""
    with _Scope(state_mapping) as scope:
        _open_scopes.append(scope)
        try:
            yield scope
        finally:
            _open_scopes.pop()


def _eagerly(function, *arguments):
    """What a function of an open scope returns; what it sets is set when it is done."""
    with _open_scope(()) as scope:
        result = function(*arguments)
    for variable in scope.changed.values():
        variable.assign(scope.get_current_value(variable))
    return result
