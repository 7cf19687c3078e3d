"""Optimizers and learning-rate schedules as the papers use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from tfalign.functional.magnitude import global_norm
from tfalign.types import Array

_UNDECAYED = ("bias", "gamma", "beta", "scale", "norm")


@keras.saving.register_keras_serializable("tfalign")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to a peak, then linear or cosine decay to a final fraction of it.

    Args:
        peak: float, highest learning rate.
        steps: int, updates in all.
        warmup_steps: int, updates until the peak.
        shape: "constant", "linear" or "cosine".
        final: float in [0, 1], fraction of the peak left at the end; a constant one has none.

    Raises:
        ValueError: if ``shape`` is unknown, a number is out of its range, or the warm-up longer than
            the whole.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        warmup_steps: int = 0,
        shape: str = "cosine",
        final: float = 0.0,
    ) -> None:
        if shape not in ("constant", "linear", "cosine"):
            raise ValueError(f'A schedule is "constant", "linear" or "cosine". Received: {shape!r}')
        if warmup_steps > steps:
            raise ValueError(
                "The warm-up cannot be longer than the whole. "
                f"Received: warmup_steps={warmup_steps}, steps={steps}"
            )
        if not (0 <= peak < np.inf and steps >= 1 and warmup_steps >= 0 and 0 <= final <= 1):
            raise ValueError(
                "A schedule has a finite peak, at least one step, a warm-up that is not negative, and a "
                f"final share in [0, 1]. Received: peak={peak}, steps={steps}, "
                f"warmup_steps={warmup_steps}, final={final}"
            )
        if shape == "constant" and final:
            raise ValueError(f"A constant schedule has no final share. Received: final={final}")
        self.peak = peak
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.shape = shape
        self.final = final

    def __call__(self, step: Array | int) -> Array:
        step = ops.cast(step, "float32")
        decay_steps = max(self.steps - self.warmup_steps, 1)
        progress = ops.clip((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        if self.shape == "cosine":
            left = 0.5 * (1.0 + ops.cos(np.pi * progress))
        elif self.shape == "linear":
            left = 1.0 - progress
        else:
            left = ops.ones_like(progress)
        decayed = self.final + (1.0 - self.final) * left
        warm = ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        return self.peak * ops.where(step < self.warmup_steps, warm, decayed)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "shape": self.shape,
            "final": self.final,
        }


@keras.saving.register_keras_serializable("tfalign")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then decay with the root of the step (Vaswani et al. 2017, eq. 3):
    factor * width^-0.5 * min(step^-0.5, step * warmup_steps^-1.5), steps counted from 1.

    Args:
        width: int, W of the model.
        warmup_steps: int, updates until the peak (4,000 in the paper).
        factor: float (1 in the paper).

    Raises:
        ValueError: if ``warmup_steps`` is not positive.
    """

    def __init__(self, width: int, warmup_steps: int, factor: float = 1.0) -> None:
        if warmup_steps < 1:
            raise ValueError(
                f"warmup_steps must be at least 1. Received: warmup_steps={warmup_steps}"
            )
        self.width = width
        self.warmup_steps = warmup_steps
        self.factor = factor

    def __call__(self, step: Array | int) -> Array:
        step = ops.cast(step, "float32") + 1.0
        shape = ops.minimum(step**-0.5, step * self.warmup_steps**-1.5)
        return self.factor * self.width**-0.5 * shape

    def get_config(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "warmup_steps": self.warmup_steps,
            "factor": self.factor,
        }


@keras.saving.register_keras_serializable("tfalign")
class AdamW(keras.optimizers.AdamW):
    """Keras' AdamW, whose first moment may have a dtype of its own.

    bfloat16 saves a quarter of the two moments' memory. The second moment stays as it is: with 8 bits a
    mean of the last 1 / (1 - beta_2) squares would not move any more.

    Args:
        momentum_dtype: str, such as "bfloat16"; None for the variables'.
    """

    def __init__(self, *args: Any, momentum_dtype: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.momentum_dtype = momentum_dtype

    def add_variable_from_reference(
        self,
        reference_variable: keras.Variable,
        name: str | None = None,
        initializer: str = "zeros",
    ) -> keras.Variable:
        if name != "momentum" or self.momentum_dtype is None:
            return super().add_variable_from_reference(reference_variable, name, initializer)
        return self.add_variable(
            shape=reference_variable.shape,
            initializer=initializer,
            dtype=self.momentum_dtype,
            name=f"{reference_variable.path.replace('/', '_')}_{name}",
            layout=getattr(reference_variable, "_layout", None),
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum_dtype": self.momentum_dtype}


@keras.saving.register_keras_serializable("tfalign")
class Adafactor(keras.optimizers.Optimizer):
    """Adafactor without momentum (Shazeer and Stern 2018, algorithm 4): of a matrix's mean squared
    gradients the means of rows and columns are kept, R + C numbers instead of R * C. (Keras' own keeps
    their product as well.)

    The learning rate is Adam's, an absolute one; the paper's is relative to the weights' size.

    Args:
        learning_rate: float or schedule.
        beta_2_decay: float; the fraction of the past in step t is 1 - t^beta_2_decay.
        epsilon: float, added to squared gradients.
        clip_threshold: float, root mean square at which an update of a variable is held.
        **kwargs: of keras.optimizers.Optimizer.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 1e-3,
        beta_2_decay: float = -0.8,
        epsilon: float = 1e-30,
        clip_threshold: float = 1.0,
        name: str = "adafactor",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_2_decay = beta_2_decay
        self.epsilon = epsilon
        self.clip_threshold = clip_threshold

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._means = [self._mean_squares(variable) for variable in variables]

    def _mean_squares(self, variable):
        """(of rows, of columns) of the last two axes; of a vector the squares themselves."""
        shapes = [variable.shape]
        if len(variable.shape) > 1:
            shapes = [variable.shape[:-1], (*variable.shape[:-2], variable.shape[-1])]
        stem = variable.path.replace("/", "_")
        return [
            self.add_variable(shape=shape, dtype="float32", name=f"{stem}_mean_{axis}")
            for shape, axis in zip(shapes, ("rows", "columns"))
        ]

    def update_step(self, gradient: Array, variable: keras.Variable, learning_rate: Array) -> None:
        step = ops.cast(self.iterations + 1, "float32")
        new = ops.power(step, self.beta_2_decay)
        squares = ops.square(ops.cast(gradient, "float32")) + self.epsilon
        means = self._means[self._get_variable_index(variable)]
        parts = [squares]
        if len(means) == 2:
            parts = [ops.mean(squares, axis=-1), ops.mean(squares, axis=-2)]
        for mean, part in zip(means, parts):
            self.assign(mean, mean + new * (part - mean))
        update = gradient / ops.sqrt(_expected(*means))
        size = ops.sqrt(ops.mean(ops.square(update)))
        update = update / ops.maximum(1.0, size / self.clip_threshold)
        self.assign_sub(variable, ops.cast(learning_rate * update, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "beta_2_decay": self.beta_2_decay,
            "epsilon": self.epsilon,
            "clip_threshold": self.clip_threshold,
        }


def _expected(rows, columns=None):
    """Mean squares from their means over rows and columns: the matrix of rank 1 nearest to them in
    generalised Kullback-Leibler divergence (Shazeer and Stern 2018, section 3)."""
    if columns is None:
        return ops.convert_to_tensor(rows)
    share = rows / ops.mean(rows, axis=-1, keepdims=True)
    return share[..., None] * ops.convert_to_tensor(columns)[..., None, :]


@keras.saving.register_keras_serializable("tfalign")
class Lamb(keras.optimizers.Lamb):
    """LAMB (You et al. 2020, algorithm 2): a variable moves by a fraction of its own norm.

    With r = m / (sqrt(v) + epsilon), the moments corrected for their start, and weight decay d,
    w -= rate * phi(|w|) / |r + d w| * (r + d w). (Keras' own decays outside of the ratio of norms.)
    Where |w| or |r + d w| is 0 the ratio is 1, as in the authors' code.

    Args:
        norm_bounds: (float, float), between which phi holds |w|; None for phi(z) = z.
    """

    def __init__(
        self, *args: Any, norm_bounds: tuple[float, float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if norm_bounds is not None and not 0 <= norm_bounds[0] <= norm_bounds[1]:
            raise ValueError(f"norm_bounds must be in order. Received: norm_bounds={norm_bounds}")
        self.norm_bounds = norm_bounds

    def _apply_weight_decay(self, variables):
        """It is part of the update."""

    def update_step(self, gradient: Array, variable: keras.Variable, learning_rate: Array) -> None:
        dtype = variable.dtype
        step = ops.cast(self.iterations + 1, dtype)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, dtype)
        self.assign_add(m, (gradient - m) * (1.0 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1.0 - self.beta_2))
        first = m / (1.0 - ops.power(ops.cast(self.beta_1, dtype), step))
        second = v / (1.0 - ops.power(ops.cast(self.beta_2, dtype), step))
        update = first / (ops.sqrt(second) + self.epsilon)
        if self.weight_decay and self._use_weight_decay(variable):
            update = update + self.weight_decay * variable
        size = global_norm([variable])
        if self.norm_bounds is not None:
            size = ops.clip(size, *self.norm_bounds)
        length = global_norm([update])
        moves = ops.logical_and(size > 0, length > 0)
        ratio = ops.where(moves, size / ops.where(moves, length, 1.0), 1.0)
        rate = ops.cast(learning_rate, dtype) * ops.cast(ratio, dtype)
        self.assign_sub(variable, rate * update)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"norm_bounds": self.norm_bounds}


def adafactor(
    learning_rate: float | LearningRateSchedule,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    **more: Any,
) -> Adafactor:
    """``Adafactor`` that decays matrices only.

    Args:
        learning_rate: float or schedule.
        weight_decay: float.
        clip_norm: float, global norm gradients are clipped to; None for no clipping.
        **more: of ``Adafactor``.
    """
    optimizer = Adafactor(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, **more
    )
    optimizer.exclude_from_weight_decay(var_names=list(_UNDECAYED))
    return optimizer


def adamw(
    learning_rate: float | LearningRateSchedule,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    beta_2: float = 0.95,
    epsilon: float = 1e-8,
    **more: Any,
) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) that decays matrices only, not biases and norms.

    Args:
        learning_rate: float or schedule.
        weight_decay: float; 0 for plain Adam.
        clip_norm: float, global norm gradients are clipped to; None for no clipping.
        beta_2: float, 0.95 as in GPT-3 (Brown et al. 2020, appendix B).
        epsilon: float, in TensorFlow's form m / (sqrt(v) + epsilon).
        **more: of ``AdamW``, such as ``momentum_dtype``, ``use_ema`` and ``ema_momentum``.

    Returns:
        AdamW.
    """
    optimizer = AdamW(
        learning_rate,
        weight_decay=weight_decay,
        beta_2=beta_2,
        epsilon=epsilon,
        global_clipnorm=clip_norm,
        **more,
    )
    optimizer.exclude_from_weight_decay(var_names=list(_UNDECAYED))
    return optimizer


def lamb(
    learning_rate: float | LearningRateSchedule,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    **more: Any,
) -> Lamb:
    """LAMB (You et al. 2020), which scales each variable's update to its norm: BERT in large batches.

    Args:
        learning_rate: float or schedule.
        weight_decay: float, of matrices.
        clip_norm: float, global norm gradients are clipped to; None for no clipping.
        **more: of ``Lamb``.

    Returns:
        Lamb.
    """
    optimizer = Lamb(learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, **more)
    optimizer.exclude_from_weight_decay(var_names=list(_UNDECAYED))
    return optimizer
