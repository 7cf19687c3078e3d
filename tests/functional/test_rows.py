"""Work on a few rows at a time: all that need it get it, and nobody else is harmed."""

import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.functional.rows import few_rows_at_a_time, put_rows, take_rows


@pytest.mark.parametrize("compile", [lambda f: f, backend.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize("at_once, rounds", [(1, 12), (2, 6), (4, 5), (9, 5)])
def test_every_row_gets_what_it_lacks(compile, at_once, rounds):
    """A round takes 1 off what the neediest rows lack and writes down what a row has got."""

    def work(rows, lack, got, round_number):
        needs, has = take_rows(rows, (lack, got))
        gained = ops.cast(needs > 0, "float32")
        updates = needs - 1, {"sum": has["sum"] + gained[:, None]}
        return *put_rows(rows, (lack, got), updates), round_number + 1

    def run(lack, got):
        return few_rows_at_a_time(lambda lack, *_: lack, work, (lack, got, 0), at_once)

    lack = np.array([0, 5, 1, -2, 3, 3], "int32")
    left, got, used = compile(run)(
        ops.convert_to_tensor(lack), {"sum": ops.zeros((6, 2), "float32")}
    )
    assert not np.any(np.asarray(left) > 0)
    np.testing.assert_array_equal(got["sum"], np.maximum(lack, 0)[:, None] + np.zeros((6, 2)))
    assert int(used) == rounds
