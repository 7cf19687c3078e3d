"""Soft-capping: numbers kept within a bound by a tanh (Bello et al. 2017; Gemma 2, Gemma Team 2024, section 2)."""

from __future__ import annotations

from keras import ops

from tfalign.functional.arrays import Array


def soft_capped(x: Array, cap: float | None) -> Array:
    """cap tanh(x / cap), within (-cap, cap); x where the cap is None.

    Args:
        x: float[...].
        cap: float > 0; None for none.

    Returns:
        float[...], as x.
    """
    return x if cap is None else ops.tanh(x / cap) * cap


def soft_cap_slope(capped: Array, cap: float) -> Array:
    """The derivative of ``soft_capped`` where it gave float[...] ``capped``; 0 beyond the cap.

    >>> float(soft_cap_slope(0.0, 30.0))
    1.0
    """
    return 1.0 - ops.square(ops.clip(capped / cap, -1.0, 1.0))
