"""Masks as tables small enough to read."""

import numpy as np
import pytest
from keras import ops

from tfalign.layers import banded_mask, causal_mask, key_mask, segment_mask


def _table(mask):
    return ops.convert_to_numpy(mask).astype(int).tolist()


def test_key_mask_hides_padding_from_every_query():
    mask = key_mask(np.array([[True, True, False]]))
    assert mask.shape == (1, 1, 1, 3)
    assert _table(mask)[0][0] == [[1, 1, 0]]


def test_causal_mask_is_lower_triangular():
    assert _table(causal_mask(3))[0][0] == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_banded_mask_reaches_less_than_its_window_to_either_side():
    assert _table(banded_mask(4, 2))[0][0] == [
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [0, 1, 1, 1],
        [0, 0, 1, 1],
    ]
    assert _table(banded_mask(3, 1))[0][0] == np.eye(3, dtype=int).tolist()


def test_banded_and_causal_is_a_window_of_the_last_tokens():
    assert _table(banded_mask(4, 2) & causal_mask(4))[0][0] == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_segment_mask_keeps_documents_apart_and_shows_nobody_padding():
    assert _table(segment_mask(np.array([[1, 1, 2, 0]])))[0][0] == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_a_window_must_be_positive():
    with pytest.raises(ValueError, match="Received: window=0"):
        banded_mask(4, 0)
