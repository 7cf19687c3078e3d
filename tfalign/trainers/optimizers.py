"""The optimizer that a trainer's options ask for."""

from __future__ import annotations

import functools

import keras

from tfalign.trainers.options import UpdateOptions
from tfalign.training.optimizers import WarmupDecay, adafactor, adamw, lamb


def _adam(schedule, weight_decay, clip_norm):
    return keras.optimizers.Adam(schedule, epsilon=1e-5, global_clipnorm=clip_norm)


def _adagrad(schedule, weight_decay, clip_norm):
    start = {"initial_accumulator_value": 0.0, "epsilon": 1e-16}  # its first steps are the largest
    return keras.optimizers.Adagrad(schedule, global_clipnorm=clip_norm, **start)


def _adam_bfloat16(schedule, weight_decay, clip_norm):
    settings = {"beta_2": 0.999, "epsilon": 1e-5, "momentum_dtype": "bfloat16"}
    return adamw(schedule, weight_decay=0.0, clip_norm=clip_norm, **settings)


_MAKE = {
    "adamw": adamw,
    "adamw_bfloat16": functools.partial(adamw, momentum_dtype="bfloat16"),
    "adam": _adam,
    "adam_bfloat16": _adam_bfloat16,
    "adagrad": _adagrad,
    "adafactor": adafactor,
    "lamb": lamb,
}


def make_optimizer(options: UpdateOptions, num_updates: int) -> keras.optimizers.Optimizer:
    """An optimizer with its learning-rate schedule.

    Args:
        options: UpdateOptions.
        num_updates: optimizer steps of the whole training.

    Raises:
        ValueError: if Adam or Adagrad, which have none, is given a weight decay, or the warm-up is longer than the training.
    """
    if options.optimizer in ("adam", "adam_bfloat16", "adagrad") and options.weight_decay:
        raise ValueError(
            f"optimizer={options.optimizer} has no weight decay. "
            f"Received: weight_decay={options.weight_decay}"
        )
    if options.warmup_steps > num_updates:
        raise ValueError(
            "warmup_steps must not exceed the number of updates. "
            f"Received: warmup_steps={options.warmup_steps}, updates={num_updates}"
        )
    schedule = WarmupDecay(
        options.learning_rate,
        num_updates,
        options.warmup_steps,
        options.decay,
        options.final_fraction,
    )
    return _MAKE[options.optimizer](schedule, options.weight_decay, options.clip_norm)
