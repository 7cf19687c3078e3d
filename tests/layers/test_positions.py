"""Positions against the papers' formulas."""

import math

import numpy as np
import pytest
from keras import ops

from tfalign.layers import LearnedPositions, SinusoidalPositions, rotary_frequencies, rotate


def test_sinusoidal_values_of_the_paper():
    """PE(pos, 2i) = sin(pos / 10000^(2i/W)), PE(pos, 2i+1) = cos(...), at W = 4."""
    values = np.asarray(SinusoidalPositions(4)(np.array([[0, 1, 50]])))[0]
    expected = [
        [math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in (0, 1, 50)
    ]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert values[0].tolist() == [0, 1, 0, 1]


def test_sinusoidal_positions_need_an_even_width():
    with pytest.raises(ValueError, match="Received: width=5"):
        SinusoidalPositions(5)


def test_learned_positions_are_rows_of_their_table():
    layer = LearnedPositions(7, 3)
    values = layer(np.array([[6, 0], [2, 2]]))
    np.testing.assert_array_equal(values, np.asarray(layer.embeddings)[[[6, 0], [2, 2]]])


def test_rotation_equals_complex_multiplication():
    """Features (i, i + D/2) as one complex number, turned by position / base^(2i/D)."""
    heads = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    positions = np.array([[0, 1, 2, 3], [5, 7, 7, 100]], "int32")
    angles = positions[:, None, :, None] / 1_000.0 ** (2 * np.arange(3) / 6)
    turned = (heads[..., :3] + 1j * heads[..., 3:]) * np.exp(1j * angles)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(rotate(heads, positions, 1_000.0), expected, atol=1e-5)


def test_rotary_products_depend_on_the_distance_alone():
    random = np.random.default_rng(0)
    query, key = random.normal(size=(2, 1, 1, 1, 8)).astype("float32")

    def product(query_position, key_position):
        turned_query = rotate(query, np.array([[query_position]]))
        turned_key = rotate(key, np.array([[key_position]]))
        return float(ops.sum(turned_query * turned_key))

    assert product(9, 4) == pytest.approx(product(105, 100), abs=1e-4)
    assert product(9, 4) == pytest.approx(product(5, 0), abs=1e-5)
    assert abs(product(9, 4) - product(9, 5)) > 0.01
    assert product(3, 3) == pytest.approx(float(np.sum(query * key)), abs=1e-5)


def test_rotation_keeps_lengths_and_dtype():
    heads = ops.cast(np.random.default_rng(0).normal(size=(1, 1, 3, 8)), "bfloat16")
    turned = rotate(heads, np.array([[0, 10, 500]]))
    assert turned.dtype == heads.dtype
    norms = [np.linalg.norm(ops.cast(x, "float32"), axis=-1) for x in (heads, turned)]
    np.testing.assert_allclose(norms[1], norms[0], rtol=0.02)


def test_far_positions_keep_their_angles_under_half_precision():
    """The angles are float32: bfloat16 cannot tell position 1,000 from 1,001."""
    ones = ops.ones((1, 1, 2, 2), "bfloat16")
    turned = ops.cast(rotate(ones, np.array([[1_000, 1_001]])), "float32")
    expected = [[math.cos(p) - math.sin(p), math.cos(p) + math.sin(p)] for p in (1_000, 1_001)]
    np.testing.assert_allclose(turned[0, 0], expected, atol=0.02)


def test_linear_scaling_divides_positions():
    heads = np.random.default_rng(0).normal(size=(1, 2, 4, 6)).astype("float32")
    positions = np.array([[0, 8, 12, 400]])
    scaled = rotate(heads, positions, 100.0, {"rope_type": "linear", "factor": 4.0})
    np.testing.assert_allclose(scaled, rotate(heads, positions // 4, 100.0), atol=1e-5)


def test_llama3_scaling_keeps_fast_planes_and_slows_slow_ones():
    """Turns in 64 positions: 10.2, 1.0 and 0.1; below 0.5 slowed by 8, above 4 kept, between mixed."""
    plain, _ = rotary_frequencies(6, 1_000.0)
    scaled, magnitude = rotary_frequencies(
        6,
        1_000.0,
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 0.5,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    )
    turns = 64 * plain / (2 * math.pi)
    assert turns == pytest.approx([10.186, 1.0186, 0.10186], rel=1e-3)
    kept = (turns[1] - 0.5) / 3.5
    np.testing.assert_allclose(scaled / plain, [1, kept + (1 - kept) / 8, 1 / 8], rtol=1e-5)
    assert magnitude == 1


def test_yarn_mixes_by_plane_and_lengthens():
    """Peng et al. 2023: planes of more than 32 turns stay, of less than 1 are slowed by s, and
    queries and keys grow by 0.1 ln s + 1."""
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2_048}
    plain, _ = rotary_frequencies(64, 10_000.0)
    scaled, magnitude = rotary_frequencies(64, 10_000.0, scaling)
    turns = 2_048 * plain / (2 * math.pi)
    np.testing.assert_allclose((scaled / plain)[turns > 45], 1, rtol=1e-6)
    np.testing.assert_allclose((scaled / plain)[turns < 0.7], 0.25, rtol=1e-6)
    assert (np.diff(scaled / plain) <= 0).all()
    assert magnitude == pytest.approx(0.1 * math.log(4) + 1)
    heads = np.ones((1, 1, 3, 64), "float32")
    norms = np.linalg.norm(rotate(heads, np.array([[0, 1, 9]]), 10_000.0, scaling), axis=-1)
    np.testing.assert_allclose(norms, 8 * magnitude, rtol=1e-5)
