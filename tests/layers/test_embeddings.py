"""The token table, and read-out by the same table or by another."""

import numpy as np
import pytest

from tfalign.layers import TokenEmbedding

IDS = np.array([[3, 0, 4], [1, 1, 2]], "int32")


@pytest.mark.parametrize("tied", [True, False])
def test_rows_and_readout(tied):
    layer = TokenEmbedding(5, 2, tied=tied)
    vectors = layer(IDS)
    table = layer.get_weights()[0]
    np.testing.assert_array_equal(vectors, table[IDS])
    kernel = np.asarray(layer.readout_kernel())
    assert kernel.shape == (2, 5)
    assert len(layer.weights) == (1 if tied else 2)
    assert np.array_equal(kernel, table.T) is tied


def test_readout_kernel_is_in_the_compute_dtype():
    layer = TokenEmbedding(5, 2, dtype="mixed_bfloat16")
    layer.build()
    assert layer.readout_kernel().dtype == layer(IDS).dtype == "bfloat16"
    assert layer.embeddings.dtype == "float32"
