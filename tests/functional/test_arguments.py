"""What a user hands over: ids, sizes and functions, each refused in one sentence."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from tfalign.functional.arguments import check_size, check_takes, checked_ids

V = 10


@given(
    rows=st.lists(st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=2), min_size=1),
    known=st.booleans(),
)
def test_ids_come_back_as_they_are_or_the_first_wrong_row_is_named(rows, known):
    rows = (np.array(rows) % V).tolist() if known else rows
    wrong = [row for row, ids in enumerate(rows) if not all(0 <= x < V for x in ids)]
    if wrong:
        with pytest.raises(ValueError, match=f"The text of row {wrong[0]} has an id outside"):
            checked_ids(rows, V, what="text")
        return
    ids, mask = checked_ids(rows, V)
    np.testing.assert_array_equal(ids, rows)
    assert ids.dtype == np.int32 and mask.all() and mask.shape == ids.shape


@pytest.mark.parametrize(
    "token_ids", [ops.convert_to_tensor([[1, 2]]), np.array([[1.0, 2.0]]), [np.array([1, 2])]]
)
def test_ids_of_any_kind_of_array(token_ids):
    np.testing.assert_array_equal(checked_ids(token_ids, V)[0], [[1, 2]])


def test_a_long_row_is_shortened_in_the_message():
    with pytest.raises(ValueError) as error:
        checked_ids([list(range(10_000))], V)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", [0, -1, np.int64(0)])
def test_sizes_below_one(value):
    with pytest.raises(ValueError, match=f"length must be at least 1. Received: length={value}"):
        check_size("length", value)


@pytest.mark.parametrize("value", [1.5, "1", None, [1], float("nan")])
def test_sizes_that_are_no_whole_numbers(value):
    with pytest.raises(ValueError, match="length must be a whole number"):
        check_size("length", value)


def two(a, b):
    return a


@pytest.mark.parametrize(
    "function",
    [
        two,
        lambda *rest: 0,
        lambda a, b=1, *, c=2: 0,
        functools.partial(lambda a, b, c: 0, 1),
        max,
        np.add,
    ],
)
def test_functions_that_take_two(function):
    check_takes(function, "It", "a", "b")


@pytest.mark.parametrize(
    "function, received",
    [
        (lambda a: 0, r"<lambda>\(a\)"),
        (lambda a, b, c: 0, r"<lambda>\(a, b, c\)"),
        (lambda a, *, b: 0, r"<lambda>\(a, \*, b\)"),
        (functools.partial(two, 1), r"partial\(b\)"),
        (5, "int"),
        (None, "NoneType"),
        ("two", "str"),
    ],
)
def test_functions_that_do_not(function, received):
    with pytest.raises(ValueError, match=rf"It is called as f\(a, b\). Received: {received}$"):
        check_takes(function, "It", "a", "b")
