"""Masks as tables small enough to read."""

import numpy as np
import pytest
from keras import ops

from tests.layers.test_attention import MASKS, RULES, B, T
from tfalign.layers import Visibility, banded_mask, causal_mask, key_mask, segment_mask, with_keys
from tfalign.layers.masks import of_last


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


def _whole(mask):
    return _table(ops.broadcast_to(True if mask is None else mask, (B, 1, T, T)))


@pytest.mark.parametrize("name", MASKS)
def test_a_rule_is_its_mask(name):
    assert _whole(RULES[name].mask(T, T)) == _whole(MASKS[name])


@pytest.mark.parametrize("name", MASKS)
def test_further_padding_and_the_last_queries_of_a_rule_are_those_of_its_mask(name):
    padding = np.array([[1, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 1]], "bool")
    rule, mask = (with_keys(x[name], padding) for x in (RULES, MASKS))
    assert _whole(rule.mask(T, T)) == _whole(mask)
    last = [
        ops.broadcast_to(x, (B, 1, 2, T))
        for x in (of_last(rule, T, 2).mask(2, T), of_last(mask, T, 2))
    ]
    assert _table(last[0]) == _table(last[1])


@pytest.mark.parametrize("first", [2, np.int32(2), np.array([2, 1], "int32")])
def test_queries_further_on(first):
    """Columns 2 and 3 of a cache of five, of a row's own where it says so."""
    rule = Visibility(causal=True, window=2, first=first)
    expected = [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]], [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0]]
    rows = expected[: 1 + np.ndim(first)]
    assert _table(rule.mask(2, 5)) == [[row] for row in rows]


def test_a_window_must_be_positive():
    with pytest.raises(ValueError, match="Received: window=0"):
        banded_mask(4, 0)
    with pytest.raises(ValueError, match="Received: window=0"):
        Visibility(window=0)
