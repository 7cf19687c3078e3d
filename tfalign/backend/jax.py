"""``jit``, ``value_and_grad``, ``fori_loop`` and ``assign_part`` on JAX, where Keras variables are
threaded through by hand."""

from __future__ import annotations

import contextlib

import jax
import keras

_open_scopes: list[keras.StatelessScope] = []


class jit:
    """As in ``backend.tensorflow``; JAX must be told the variables the function touches."""

    def __init__(self, function, variables=()):
        self.traces = 0
        self._variables = list({id(v): v for v in variables}.values())

        def pure(values, args):
            self.traces += 1
            with _open_scope(zip(self._variables, values)) as scope:
                outputs = function(*args)
            return outputs, [scope.get_current_value(v) for v in self._variables]

        self._compiled = jax.jit(pure)

    def __call__(self, *args):
        outputs, values = self._compiled([v.value for v in self._variables], args)
        for variable, value in zip(self._variables, values):
            variable.assign(value)
        return outputs


def value_and_grad(function, variables):
    """As in ``backend.tensorflow``; to be called within a function compiled by ``jit``."""
    outer = _open_scopes[-1]

    def of_values(values):
        with keras.StatelessScope(state_mapping=zip(variables, values)) as scope:
            scope.state_mapping = {**outer.state_mapping, **scope.state_mapping}
            value, auxiliary = function()
        return value, (auxiliary, scope.state_mapping)

    (value, (auxiliary, state)), gradients = jax.value_and_grad(of_values, has_aux=True)(
        [v.value for v in variables]
    )
    outer.state_mapping.update(state)  # dropout seeds and other state that moved on
    return value, auxiliary, gradients


def input_gradient(function, x):
    """As in ``backend.tensorflow``."""
    return jax.value_and_grad(function)(x)


def fori_loop(lower, upper, body, initial):
    """As in ``backend.tensorflow``; to be called within a function compiled by ``jit``."""
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


def assign_part(variable, values, start, axis):
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
    with keras.StatelessScope(state_mapping=state_mapping) as scope:
        _open_scopes.append(scope)
        try:
            yield scope
        finally:
            _open_scopes.pop()
