"""AdamW on the equal variables of a deep model's blocks at once: fewer and larger operations to compile.

The update of every variable by itself is a few loops for XLA to compile; of 48 blocks it took longer to compile than
the blocks. Here variables that differ in the number of their block alone are stacked, updated and taken apart again.
The numbers are those of ``optimizers.AdamW``, to rounding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras
from keras import ops

from tfalign import backend
from tfalign.functional.magnitude import global_norm
from tfalign.layers import scans
from tfalign.training.optimizers import AdamW
from tfalign.types import Array

_OTHER_SETTINGS = (
    "amsgrad",
    "use_ema",
    "gradient_accumulation_steps",
    "clipnorm",
    "clipvalue",
    "loss_scale_factor",
    "momentum_dtype",
)


class StackedUpdate:
    """The gradients of variables in stacks, and AdamW on them.

    Args:
        optimizer: keras optimizer, built.
        variables: list of Keras variables, trained.

    Attributes:
        groups: lists of numbers of variables: those of a stack, or one; all alone where the model is not
            deep enough to be scanned (``layers.scans``), or the optimizer is another than AdamW or does more.
    """

    def __init__(
        self, optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
    ) -> None:
        self._optimizer = optimizer
        self._variables = variables
        self.groups = [[number] for number in range(len(variables))]
        plain = not any(getattr(optimizer, name, None) for name in _OTHER_SETTINGS)
        if type(optimizer) is AdamW and plain:
            self.groups = self._equal_ones()
        self.is_stacked = len(self.groups) < len(variables)

    def join(self, gradients: Sequence[Array]) -> list[Array]:
        """A gradient for each variable, float[...], as one for each group, float[L, ...] for L of them."""
        if not self.is_stacked:
            return list(gradients)
        return [_stack([gradients[number] for number in group]) for group in self.groups]

    def apply(self, gradients: Sequence[Array]) -> None:
        """As ``optimizer.apply``, of gradients from ``join``."""
        optimizer = self._optimizer
        if not self.is_stacked:
            optimizer.apply(gradients, self._variables)
            return
        if optimizer.global_clipnorm:
            most = optimizer.global_clipnorm
            factor = most / ops.maximum(global_norm(gradients), most)
            gradients = [ops.cast(factor, g.dtype) * g for g in gradients]
        for group, gradient in zip(self.groups, gradients):
            self._update(group, gradient)
        optimizer.iterations.assign_add(1)

    def _update(self, group, gradient):
        o = self._optimizer
        places = [o._get_variable_index(self._variables[number]) for number in group]
        kept = [
            [self._variables[number] for number in group],
            [o._momentums[place] for place in places],
            [o._velocities[place] for place in places],
        ]
        weights, m, v = (_stack([backend.read(x) for x in variables]) for variables in kept)
        dtype = weights.dtype
        rate, step = ops.cast(o.learning_rate, dtype), ops.cast(o.iterations + 1, dtype)
        gradient = ops.cast(gradient, dtype)
        if o.weight_decay and self._decays(group[0]):
            weights = weights - weights * ops.cast(o.weight_decay, dtype) * rate
        m = m + (gradient - m) * (1 - o.beta_1)
        v = v + (ops.square(gradient) - v) * (1 - o.beta_2)
        first = 1 - ops.power(ops.cast(o.beta_1, dtype), step)
        second = 1 - ops.power(ops.cast(o.beta_2, dtype), step)
        alpha = rate * ops.sqrt(second) / first
        weights = weights - m * alpha / (ops.sqrt(v) + o.epsilon)
        for variables, value in zip(kept, (weights, m, v)):
            parts = [value] if len(group) == 1 else ops.unstack(value, len(group))
            for variable, part in zip(variables, parts):
                variable.assign(part)

    def _decays(self, number):
        variable = self._variables[number]
        return self._optimizer._use_weight_decay(variable)

    def _equal_ones(self):
        groups = {}
        for number, variable in enumerate(self._variables):
            kind = re.sub(r"\d+", "#", variable.path), tuple(variable.shape), variable.dtype
            groups.setdefault(kind, []).append(number)
        found = []
        for group in groups.values():
            found += [group] if scans(len(group)) and len(group) > 1 else [[n] for n in group]
        return found


def _stack(arrays):
    return arrays[0] if len(arrays) == 1 else ops.stack(arrays)
