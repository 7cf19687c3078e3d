"""``jit`` and ``value_and_grad`` on JAX, where Keras variables are threaded through by hand."""

from __future__ import annotations

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
            with keras.StatelessScope(state_mapping=zip(self._variables, values)) as scope:
                _open_scopes.append(scope)
                try:
                    outputs = function(*args)
                finally:
                    _open_scopes.pop()
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
