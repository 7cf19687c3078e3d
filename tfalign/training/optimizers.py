"""Optimizers and learning-rate schedules as the papers use them."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("tfalign")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to a peak, then linear or cosine decay to a final share of it.

    Args:
        peak: float, highest learning rate.
        steps: int, updates in all.
        warmup_steps: int, updates until the peak.
        shape: "constant", "linear" or "cosine".
        final: float in [0, 1], share of the peak left at the end.

    Raises:
        ValueError: if ``shape`` is unknown, or the warm-up longer than the whole.
    """

    def __init__(self, peak, steps, warmup_steps=0, shape="cosine", final=0.0):
        if shape not in ("constant", "linear", "cosine"):
            raise ValueError(f'A schedule is "constant", "linear" or "cosine". Received: {shape!r}')
        if warmup_steps > steps:
            raise ValueError(
                "The warm-up cannot be longer than the whole. "
                f"Received: warmup_steps={warmup_steps}, steps={steps}"
            )
        self.peak = peak
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.shape = shape
        self.final = final

    def __call__(self, step):
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

    def get_config(self):
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

    def __init__(self, width, warmup_steps, factor=1.0):
        if warmup_steps < 1:
            raise ValueError(
                f"warmup_steps must be at least 1. Received: warmup_steps={warmup_steps}"
            )
        self.width = width
        self.warmup_steps = warmup_steps
        self.factor = factor

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1.0
        shape = ops.minimum(step**-0.5, step * self.warmup_steps**-1.5)
        return self.factor * self.width**-0.5 * shape

    def get_config(self):
        return {
            "width": self.width,
            "warmup_steps": self.warmup_steps,
            "factor": self.factor,
        }


_UNDECAYED = ("bias", "gamma", "beta", "scale", "norm")


def adamw(learning_rate, weight_decay=0.01, clip_norm=1.0, beta_2=0.95, epsilon=1e-8, **more):
    """AdamW (Loshchilov and Hutter 2019) that decays matrices only, not biases and norms.

    Args:
        learning_rate: float or schedule.
        weight_decay: float; 0 for plain Adam.
        clip_norm: float, global norm gradients are clipped to; None for no clipping.
        beta_2: float, 0.95 as in GPT-3 (Brown et al. 2020, appendix B).
        epsilon: float, in TensorFlow's form m / (sqrt(v) + epsilon).
        **more: of keras.optimizers.AdamW, such as ``use_ema`` and ``ema_momentum``.

    Returns:
        keras.optimizers.AdamW.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate,
        weight_decay=weight_decay,
        beta_2=beta_2,
        epsilon=epsilon,
        global_clipnorm=clip_norm,
        **more,
    )
    optimizer.exclude_from_weight_decay(var_names=list(_UNDECAYED))
    return optimizer


def lamb(learning_rate, weight_decay=0.01, clip_norm=1.0, **more):
    """LAMB (You et al. 2020), which scales each matrix's update to its norm: BERT in large batches.

    Args:
        learning_rate: float or schedule.
        weight_decay: float, of matrices.
        clip_norm: float, global norm gradients are clipped to; None for no clipping.
        **more: of keras.optimizers.Lamb.

    Returns:
        keras.optimizers.Lamb.
    """
    optimizer = keras.optimizers.Lamb(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, **more
    )
    optimizer.exclude_from_weight_decay(var_names=list(_UNDECAYED))
    return optimizer
