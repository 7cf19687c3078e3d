import numpy as np
import pytest
from keras import ops

from tfalign.functional.random import threefry2x32, uniform


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # Random123's kat_vectors, lines 'threefry2x32 20'
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(counter, key, expected, compiled):
    assert tuple(int(word) for word in threefry2x32(key, counter)) == expected
    columns = [np.array([word] * 3, "uint32") for word in (*key, *counter)]
    words, _ = compiled(
        lambda a, b, c, d: tuple(
            ops.cast(ops.bitwise_right_shift(word, shift), "int32") & 0xFFFF
            for word in threefry2x32((a, b), (c, d))
            for shift in (16, 0)
        )
    )(*columns)
    for word, halves in zip(expected, (words[:2], words[2:]), strict=True):
        high, low = halves[0].astype("int64"), halves[1]
        np.testing.assert_array_equal(high * 65536 + low, [word] * 3)


def numpy_uniform(seed, row, step):
    """Salmon et al.'s figure, in Python integers."""
    bits, keys = 0xFFFFFFFF, [seed % 2**32, seed >> 32]
    keys.append(keys[0] ^ keys[1] ^ 0x1BD11BDA)
    x, y = (row + keys[0]) & bits, (step + keys[1]) & bits
    for index in range(20):
        turn = (13, 15, 26, 6, 17, 29, 16, 24)[index % 8]
        x = (x + y) & bits
        y = ((y << turn | y >> (32 - turn)) & bits) ^ x
        if index % 4 == 3:
            s = index // 4 + 1
            x, y = (x + keys[s % 3]) & bits, (y + keys[(s + 1) % 3] + s) & bits
    return (x >> 8) / 2**24


def test_uniform_is_the_upper_24_bits():
    rows, steps = np.array([[0], [1], [70000]], "int32"), np.array([[0, 5]], "int32")
    for seed in (0, 7, 2**63 + 12345):
        expected = [[numpy_uniform(seed, r, s) for s in (0, 5)] for r in (0, 1, 70000)]
        numbers = ops.convert_to_numpy(uniform(seed, rows, steps))
        np.testing.assert_array_equal(numbers, np.array(expected, "float32"))
        assert numbers.dtype == np.float32


def test_an_element_depends_on_seed_row_and_step_alone(compiled):
    rows = np.arange(64, dtype="int32")
    order = np.random.default_rng(0).permutation(64)
    all_rows = ops.convert_to_numpy(uniform(3, rows, 11))
    np.testing.assert_array_equal(uniform(3, rows[order], 11), all_rows[order])
    np.testing.assert_array_equal(uniform(3, rows[5:6], np.int32(11)), all_rows[5:6])
    under_xla, _ = compiled(lambda seed, rows, step: uniform(seed, rows, step))(
        np.uint32(3), rows, np.int32(11)
    )
    np.testing.assert_array_equal(under_xla, all_rows)
    for other in (uniform(4, rows, 11), uniform(3, rows, 12), uniform(3 + 2**32, rows, 11)):
        assert not np.isin(ops.convert_to_numpy(other), all_rows).any()


def test_numbers_are_uniform_and_below_one():
    rows, steps = np.arange(256, dtype="int32")[:, None], np.arange(256, dtype="int32")
    numbers = ops.convert_to_numpy(uniform(1, rows, steps)).astype("float64")
    assert numbers.min() >= 0.0 and numbers.max() < 1.0
    counts, _ = np.histogram(numbers, bins=64, range=(0, 1))
    chi_square = np.sum((counts - 1024.0) ** 2 / 1024.0)
    assert chi_square < 63 + 5 * np.sqrt(2 * 63)  # 5 standard deviations above the mean
    for axis in (0, 1):  # neighbours in the batch and in time are uncorrelated
        left, right = np.delete(numbers, -1, axis), np.delete(numbers, 0, axis)
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 5 / 256


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=f"Received: seed={seed}"):
        uniform(seed, np.arange(2, dtype="int32"), 0)
