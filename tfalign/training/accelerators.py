"""Accelerators and their data sheets, and which one a device is by its name.

This module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Device(NamedTuple):
    """Makers' data sheets; matrix products without sparsity, those of float32 in TF32 or bfloat16 where
    that is what TensorFlow and XLA do."""

    memory: float  # GB
    bandwidth: float  # GB/s
    float32: float  # TFLOP/s
    mixed_bfloat16: float  # TFLOP/s
    link: float  # GB/s a device sends to others of its machine or slice, all links together


DEVICES = {
    "l4": Device(24, 300, 60, 121, 32),
    "a100": Device(80, 2_039, 156, 312, 300),
    "h100": Device(80, 3_350, 495, 989, 450),
    "h200": Device(141, 4_800, 495, 989, 450),
    "tpu_v4": Device(32, 1_228, 275, 275, 300),
    "tpu_v5e": Device(16, 819, 197, 197, 200),
    "tpu_v5p": Device(95, 2_765, 459, 459, 600),
    "tpu_v6e": Device(32, 1_600, 918, 918, 400),  # cloud.google.com/tpu/docs/v6e
}

_NAMES = {  # as CUDA and JAX call them
    r"\bL4\b": "l4",
    r"\bA100\b": "a100",
    r"\bH100\b.*HBM3": "h100",  # not its slower cards
    r"\bH200\b": "h200",
    r"^TPU v4$": "tpu_v4",
    r"^TPU (v5 lite|v5e)$": "tpu_v5e",
    r"^TPU (v5|v5p)$": "tpu_v5p",
    r"^TPU (v6 lite|v6e)$": "tpu_v6e",
}


def device_named(name: str) -> Device | None:
    """The data sheet of a device by what its driver calls it; None of one that is not in ``DEVICES``.

    >>> device_named("NVIDIA H100 80GB HBM3").mixed_bfloat16, device_named("TPU v5 lite").memory
    (989, 16)
    >>> device_named("cpu") is None
    True
    """
    found = [known for pattern, known in _NAMES.items() if re.search(pattern, name)]
    return DEVICES[found[0]] if found else None
