"""Attention a tile at a time: the numbers and gradients of the materialised one, in memory linear in the length."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from keras import ops

from tests.layers.test_attention import oracle
from tfalign import backend
from tfalign.layers import (
    MultiHeadAttention,
    Visibility,
    blockwise,
    blockwise_attention,
    scaled_dot_product,
    scaled_dot_product_attention,
)

LENGTHS = "1024,4096"
UPDATE = """
import os, sys
from tfalign.planning.compiled import programs, watch
os.environ["TF_XLA_FLAGS"] = os.environ["JAX_COMPILATION_CACHE_DIR"] = ""
watch(sys.argv[1])
import numpy as np
from keras import ops
from tfalign.layers import ResidualBlock, scaled_dot_product
from tfalign.models import CausalLM, GPTConfig
from tfalign.training.learner import Learner
from tfalign.training.optimizers import adamw
ResidualBlock.remat = sys.argv[2] == "remat"
scaled_dot_product.MATERIALISED = int(sys.argv[3])
model = CausalLM(GPTConfig(11, 16, 2, 2, max_positions=4096, attention_window=300))
def squares(model, ids, training=True):
    hidden = model.backbone(ids, segment_ids=ids, training=training)
    return ops.mean(ops.square(hidden)), ops.ones(()), {}
learner = Learner(model, squares, adamw(1e-2))
for length in map(int, sys.argv[4].split(",")):
    learner.update(np.ones((1, length), "int32"))
    sizes = [program.temporary for program in programs(sys.argv[1])]
    print("temporary", max(sizes))
"""


def _random_rule(random, batch, num_queries, num_keys):
    """A rule of any kind, the queries' columns among the keys' or not."""
    first = int(random.integers(-2, max(num_keys - num_queries, 0) + 3))
    rule = Visibility(
        causal=bool(random.integers(2)),
        window=[None, int(random.integers(1, 9))][random.integers(2)],
        first=[
            first,
            ops.convert_to_tensor(first, "int32"),
            (first + np.arange(batch)).astype("int32"),
        ][random.integers(3)],
    )
    kind = random.integers(4)
    if kind in (1, 2):
        keys, queries = (
            random.integers(0, 4, (batch, n), "int32") for n in (num_keys, num_queries)
        )
        queries[queries == 0] = -1
        rule = dataclasses.replace(rule, key_documents=keys, query_documents=queries)
    if kind in (0, 1):
        rule = rule.among(random.random((batch, num_keys)) < 0.7)
    return rule


def _outputs_and_gradient(attend, heads, shape, dtype):
    """The outputs, and the gradient of a random sum of them for all heads of queries, keys and values."""
    num_heads, groups, num_queries, num_keys = shape

    def outputs(x):
        x = ops.cast(x, dtype)
        keys, values = x[:, num_heads:-groups, :num_keys], x[:, -groups:, :num_keys]
        return ops.cast(attend(x[:, :num_heads, :num_queries], keys, values), "float32")

    def both(x):
        weights = ops.stop_gradient(ops.flip(x[:, :num_heads, :num_queries], axis=-1))
        _, gradient = backend.input_gradient(lambda x: ops.sum(outputs(x) * weights), x)
        return outputs(x), gradient

    return [np.asarray(x) for x in backend.jit(both)(ops.convert_to_tensor(heads))]


def _compare(case, dtype, tolerance):
    random = np.random.default_rng(case)
    batch, repeats, groups, num_queries, num_keys = map(int, random.integers(1, [4, 4, 3, 20, 20]))
    rule = _random_rule(random, batch, num_queries, num_keys)
    tile, num_heads = int(random.integers(1, 9)), repeats * groups
    cap = [None, 0.7][case % 2]
    heads = random.normal(size=(batch, num_heads + 2 * groups, max(num_queries, num_keys), 3))
    found, expected = (
        _outputs_and_gradient(
            attend, heads.astype("float32"), (num_heads, groups, num_queries, num_keys), dtype
        )
        for attend in (
            lambda *x: blockwise_attention(*x, rule, tile, cap),
            lambda *x: scaled_dot_product_attention(*x, rule, cap)[0],
        )
    )
    for mine, other in zip(found, expected):
        atol = tolerance * max(1.0, np.abs(other).max())
        np.testing.assert_allclose(mine, other, rtol=0, atol=atol, err_msg=f"case {case}")


def test_equals_the_materialised_attention(fuzz_cases):
    """Forward and gradients, for any shape, rule and tile; rows that may look nowhere are among them."""
    for case in range(fuzz_cases(3)):
        _compare(case, "float32", 1e-5)


def test_equals_it_within_bfloat16s_rounding(fuzz_cases):
    for case in range(fuzz_cases(1)):
        _compare(case, "bfloat16", 2**-6)


def test_a_query_that_may_look_nowhere_gets_the_mean_of_all_values():
    """Also of those values that no tile brings before it."""
    heads = np.random.default_rng(0).normal(size=(1, 2, 9, 3)).astype("float32")
    rule = Visibility(first=-4, causal=True)
    outputs = np.asarray(blockwise_attention(heads, heads, heads, rule, tile=2))
    np.testing.assert_allclose(
        outputs[:, :, :4], heads.mean(2, keepdims=True).repeat(4, 2), atol=1e-5
    )
    expected, _ = oracle(heads, heads, heads, rule.mask(9, 9))
    np.testing.assert_allclose(outputs[:, :, 4:], expected[:, :, 4:], atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Visibility(), 16),
        (Visibility(causal=True), 10),
        (Visibility(causal=True, window=1), 4),
        (Visibility(causal=True, window=2), 7),
        (Visibility(window=3), 10),
        (Visibility(causal=True, first=-100), 0),
        (Visibility(causal=True, first=np.zeros(2, "int32")), 16),
    ],
)
def test_tiles_that_nothing_is_seen_in_are_left_out(rule, expected):
    """Of four tiles of two queries by four of two keys."""
    tiles = blockwise._Tiles.of(rule, 8, 8, 2, 1)
    assert len(tiles.pairs) == expected


def test_the_layer_looks_at_long_sequences_blockwise(monkeypatch):
    """The same outputs, and the weights for those who ask."""
    x = np.random.default_rng(0).normal(size=(2, 7, 8)).astype("float32")
    layer = MultiHeadAttention(4, 2, initializer_range=0.5)
    rule = Visibility.of_documents(np.array([[1] * 7, [1, 1, 2, 2, 2, 0, 0]]), causal=True)
    outputs, weights = layer(x, attention_mask=rule), layer.attention_weights(x, rule)
    used = []
    monkeypatch.setattr(scaled_dot_product, "is_long", lambda queries, keys: used or True)
    monkeypatch.setattr(
        scaled_dot_product,
        "blockwise_attention",
        lambda *given, **more: used.append(1) or blockwise_attention(*given, tile=4, **more),
    )
    np.testing.assert_allclose(layer(x, attention_mask=rule), outputs, atol=1e-5)
    assert len(used) == 1
    np.testing.assert_array_equal(layer.attention_weights(x, rule), weights)
    np.testing.assert_allclose(layer(x, attention_mask=rule.mask(7, 7)), outputs, atol=1e-5)
    assert len(used) == 1


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["remat", "kept"])
def test_memory_of_an_update_is_linear_in_the_length(remat, tmp_path):
    """Four times the tokens, about four times XLA's buffers; sixteen, nearly, where weights are materialised."""
    ratios = []
    for materialised in (scaled_dot_product.MATERIALISED, 4096**2):
        folder = tmp_path / str(materialised)
        command = sys.executable, "-c", UPDATE, folder, remat, str(materialised), LENGTHS
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        sizes = [int(x.split()[1]) for x in run.stdout.splitlines() if x.startswith("temporary")]
        ratios.append(sizes[1] / sizes[0])
    assert ratios[0] < 5
    assert ratios[1] > 8
