"""Traces of a program's run, and what JAX knows of its devices."""

from __future__ import annotations

import contextlib
import os

import jax
import keras


def start_trace(directory: str | os.PathLike) -> None:
    """Begins to write down what runs where, for TensorBoard's profile page, below ``directory``."""
    jax.profiler.start_trace(os.fspath(directory))


def stop_trace() -> None:
    """Writes the trace that was begun."""
    jax.profiler.stop_trace()


def traced_step(step: int) -> contextlib.AbstractContextManager:
    """Within it a trace shows one step of training."""
    return jax.profiler.StepTraceAnnotation("train", step_num=step)


def device_name() -> str:
    """What the driver calls the first device."""
    return jax.local_devices()[0].device_kind


def device_count() -> int:
    """Over how many devices a program is spread."""
    current = keras.distribution.distribution()
    return 1 if current is None else current.device_mesh.devices.size


def device_memory() -> int | None:
    """Most bytes of the first device that were in use at once; None where it does not count them, as a CPU."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
