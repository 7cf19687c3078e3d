"""Traces of a program's run, and what TensorFlow knows of its devices."""

from __future__ import annotations

import contextlib
import os

import tensorflow as tf


def start_trace(directory: str | os.PathLike) -> None:
    """As in ``backend.jax_measuring``."""
    tf.profiler.experimental.start(os.fspath(directory))


def stop_trace() -> None:
    """As in ``backend.jax_measuring``."""
    tf.profiler.experimental.stop()


def traced_step(step: int) -> contextlib.AbstractContextManager:
    """As in ``backend.jax_measuring``."""
    return tf.profiler.experimental.Trace("train", step_num=step, _r=1)


def device_name() -> str:
    """As in ``backend.jax_measuring``; of a TPU only that it is one."""
    if tf.config.list_logical_devices("TPU"):
        return "TPU"
    cards = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(cards[0])["device_name"] if cards else "cpu"


def device_count() -> int:
    """As in ``backend.jax_measuring``."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def device_memory() -> int | None:
    """As in ``backend.jax_measuring``."""
    if not tf.config.list_logical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]
