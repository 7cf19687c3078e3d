"""Arithmetic on numbers whose squares or sums overflow float32.

What has to be squared or summed is multiplied by a power of two first. That changes the exponent of a
float and none of its digits, so numbers of an ordinary size give the same bits as without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras import ops

from tfalign.functional.arrays import Array

# Up to _LARGE thousands of squares add up; numbers above it, and above _HUGE, come near 1 by a factor.
_LARGE, _HUGE = 2.0**32, 2.0**80
_OF_LARGE, _OF_HUGE = 2.0**-56, 2.0**-96


def safe_scale(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """A power of two that scales numbers so that their sums and squares stay finite.

    Args:
        x: float32[...].
        axis: int, tuple of ints or None (all axes), over which they will be reduced.

    Returns:
        float32, x's shape with 1 on the reduced axes: 1 unless some number exceeds 2^32; no gradient
        flows.
    """
    largest = ops.max(ops.abs(ops.stop_gradient(x)), axis=axis, keepdims=True)
    large = ops.where(largest > _LARGE, _OF_LARGE, 1.0)
    return ops.stop_gradient(ops.where(largest > _HUGE, _OF_HUGE, large))


def global_norm(tensors: Sequence[Array]) -> Array:
    """The Euclidean norm of all numbers together.

    Args:
        tensors: list of float[...].

    Returns:
        float32[]; infinite where the norm itself is no float32, NaN where one of the numbers is.

    >>> round(float(global_norm([ops.array([3e20]), ops.array([4e20])])) / 1e20, 5)
    5.0
    """
    plain = _sum_of_squares(tensors, 1.0)
    scaled = ops.sqrt(_sum_of_squares(tensors, _OF_HUGE)) / _OF_HUGE
    return ops.where(ops.isfinite(plain), ops.sqrt(plain), scaled)


def _sum_of_squares(tensors, scale):
    numbers = (ops.cast(x, "float32") for x in tensors)
    if scale != 1.0:
        numbers = (x * scale for x in numbers)
    return sum(ops.sum(ops.square(x)) for x in numbers)


def is_finite(statistic: float | Array) -> bool:
    """Whether a batch mean is finite, so that a controller or baseline may take it in.

    >>> is_finite(0.5), is_finite(float("nan"))
    (True, False)
    """
    return math.isfinite(float(statistic))
