"""``jit_rows``, ``strategy``, ``is_chief`` and ``wait_for_others`` on JAX, where one program spans all
devices: arrays are split as ``keras.distribution`` says, and the compiler does the rest."""

from __future__ import annotations

import jax
from jax.experimental import multihost_utils

from tfalign.backend.jax import jit as jit_rows  # noqa: F401  # a program's rows are shared already


def strategy():
    """None: there is no ``tf.distribute`` here."""
    return None


def is_chief():
    """As in ``backend.tensorflow_devices``."""
    return jax.process_index() == 0


def wait_for_others():
    """As in ``backend.tensorflow_devices``."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("tfalign")
