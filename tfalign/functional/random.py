"""Counter-based random numbers: each one a pure function of seed, row and step.

Nothing is carried from call to call, so the same numbers come back on every backend, in any batch
size or order of rows, and after a resume.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign.functional.arrays import Array

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)  # R_32x2, Salmon et al. 2011, table 1
_PARITY = 0x1BD11BDA  # the key schedule's constant, of Skein 1.3
_NUM_ROUNDS = 20
_ROUNDS_PER_KEY = 4


def threefry2x32(
    key: tuple[int | Array, int | Array], counter: tuple[int | Array, int | Array]
) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011, 'Parallel random numbers', section 3.3).

    Args:
        key: pair of uint32[...], broadcastable to the counter.
        counter: pair of uint32[...].

    Returns:
        Pair of uint32[...], the counter's block encrypted under the key; 64 random bits.
    """
    key_0, key_1 = (_to_uint32(word) for word in key)
    x_0, x_1 = (_to_uint32(word) for word in counter)
    parity = _to_uint32(_PARITY)
    keys = (key_0, key_1, ops.bitwise_xor(ops.bitwise_xor(key_0, key_1), parity))
    x_0, x_1 = x_0 + keys[0], x_1 + keys[1]
    for round_index in range(_NUM_ROUNDS):
        x_0 = x_0 + x_1
        x_1 = ops.bitwise_xor(_rotate_left(x_1, _ROTATIONS[round_index % len(_ROTATIONS)]), x_0)
        injection, remainder = divmod(round_index + 1, _ROUNDS_PER_KEY)
        if remainder == 0:
            x_0 = x_0 + keys[injection % 3]
            x_1 = x_1 + keys[(injection + 1) % 3] + _to_uint32(injection)
    return x_0, x_1


def uniform(seed: int | Array, row_ids: Array, steps: Array) -> Array:
    """Uniform numbers in [0, 1), one for each pair of row and step.

    An element depends on (seed, row id, step) alone: not on its place in the batch, the batch's
    size or the backend. It is a multiple of 2**-24, so 1 never occurs.

    Args:
        seed: int in [0, 2**64), or a tensor uint32[...] or int32[...], broadcast with the others.
        row_ids: int32[...], which stream of numbers a row samples from; broadcast with steps.
        steps: int32[...], which number of the stream.

    Returns:
        float32[...], of the broadcast shape.

    Raises:
        ValueError: if seed is a Python integer outside [0, 2**64).
    """
    bits, _ = threefry2x32(_key(seed), (row_ids, steps))
    high_bits = ops.cast(ops.bitwise_right_shift(bits, 8), "int32")  # all a float32 can tell apart
    return ops.cast(high_bits, "float32") * 2.0**-24


def _key(seed):
    if isinstance(seed, (int, np.integer)):
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must lie in [0, 2**64). Received: seed={seed}")
        return int(seed) % 2**32, int(seed) // 2**32
    return seed, 0


def _to_uint32(x):
    if isinstance(x, (int, np.integer)):
        return ops.convert_to_tensor(np.uint32(int(x) % 2**32), dtype="uint32")
    return ops.cast(x, "uint32")


def _rotate_left(x, distance):
    return ops.bitwise_or(
        ops.bitwise_left_shift(x, distance), ops.bitwise_right_shift(x, 32 - distance)
    )
