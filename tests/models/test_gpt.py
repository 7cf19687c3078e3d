"""GPT: cached = uncached, padding and packing change nothing, and the shapes it can take."""

import numpy as np
import pytest

from tfalign.models import GPT, CausalLM, GPTConfig
from tfalign.models.gpt_config import PRESETS

V, W, LAYERS, POSITIONS = 13, 16, 4, 32
GPT2 = GPTConfig(V, W, LAYERS, 2, max_positions=POSITIONS, initializer_range=0.3)
LLAMA = GPT2.replace(
    num_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    hidden_dim=20,
    rotary_base=100.0,
    norm="rms",
    activation="silu",
    gated=True,
    use_bias=False,
    tied=False,
)
GEMMA = LLAMA.replace(
    attention_window=3,  # of every second block
    local_rotary_base=10.0,
    norm="zero_centered_rms",
    norm_placement="both",
    head_norm=True,
    attention_softcap=2.0,
    query_pre_attention_scalar=3.0,
    scaled_embedding=True,
)
KINDS = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "gemma": GEMMA,
    "mixture": LLAMA.replace(norm_placement="output", num_experts=5, dense_blocks=(1,)),
}
B, T = 3, 9
LENGTHS = np.array([9, 4, 6])
IDS = np.random.default_rng(0).integers(0, V, size=(B, T)).astype("int32")
RIGHT = np.arange(T)[None, :] < LENGTHS[:, None]


@pytest.fixture(scope="module", params=list(KINDS))
def model(request) -> GPT:
    return _filled(GPT(KINDS[request.param]))


def _filled(model):
    """Norms and biases off their starting points, so that a forgotten one shows."""
    random = np.random.default_rng(1)
    model.set_weights([w + 0.1 * random.normal(size=w.shape) for w in model.get_weights()])
    return model


def _left(rows):
    """The same rows with their padding moved to the left."""
    return np.stack([np.roll(row, T - n, axis=0) for row, n in zip(rows, LENGTHS)])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pieces", [[1] * T, [T], [5, 1, 3]], ids=str)
def test_cached_equals_uncached(model, pieces, side):
    mask = {"left": _left(RIGHT), "right": RIGHT}[side]
    expected = np.asarray(model(IDS, padding_mask=mask))
    positions = (np.cumsum(mask, axis=1) - mask).astype("int32")
    length = T + 2
    visible = np.pad(mask, ((0, 0), (0, length - T)), constant_values=True)
    cache, column, hidden = model.new_cache(B, length), 0, []
    for size in pieces:
        columns = slice(column, column + size)
        output, cache = model.extend(IDS[:, columns], cache, column, visible, positions[:, columns])
        hidden.append(output)
        column += size
    np.testing.assert_allclose(
        np.concatenate(hidden, axis=1)[mask], expected[mask], atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize("size", [1, 3])
def test_rows_may_be_extended_at_columns_of_their_own(model, size):
    """Row b is b columns ahead of the others; what comes out is what comes out without a cache."""
    mask = _left(RIGHT)
    expected = np.asarray(model(IDS, padding_mask=mask))
    positions = (np.cumsum(mask, axis=1) - mask).astype("int32")
    cache, hidden = model.new_cache(B, T), np.zeros_like(expected)
    for start in range(1 - B, T, size):
        first = np.clip(start + np.arange(B, dtype="int32"), 0, T - size)
        columns = first[:, None] + np.arange(size)
        given = [np.take_along_axis(x, columns, axis=1) for x in (IDS, positions)]
        output, cache = model.extend(given[0], cache, first, mask, given[1])
        np.put_along_axis(hidden, columns[:, :, None], np.asarray(output), axis=1)
    np.testing.assert_allclose(hidden[mask], expected[mask], atol=2e-5, rtol=1e-4)


def test_padding_side_is_irrelevant(model):
    left_ids, left_mask = _left(IDS), _left(RIGHT)
    right = np.asarray(model(IDS, padding_mask=RIGHT))[RIGHT]
    left = np.asarray(model(left_ids, padding_mask=left_mask))[left_mask]
    np.testing.assert_allclose(left, right, atol=1e-5)
    alone = [np.asarray(model(row[None, :n]))[0] for row, n in zip(IDS, LENGTHS)]
    np.testing.assert_allclose(np.concatenate(alone), right, atol=1e-5)


def test_what_stands_at_padding_is_irrelevant(model):
    other = np.where(RIGHT, IDS, (IDS + 5) % V).astype("int32")
    np.testing.assert_array_equal(
        np.asarray(model(other, padding_mask=RIGHT))[RIGHT],
        np.asarray(model(IDS, padding_mask=RIGHT))[RIGHT],
    )


def test_batch_order_is_irrelevant(model):
    order = [2, 0, 1]
    shuffled = np.asarray(model(IDS[order], padding_mask=RIGHT[order]))
    expected = np.asarray(model(IDS, padding_mask=RIGHT))[order]
    np.testing.assert_allclose(shuffled[RIGHT[order]], expected[RIGHT[order]], atol=1e-5)


@pytest.mark.parametrize("last", [1, 4, T])
def test_the_last_columns_alone(model, last):
    """The same numbers for less work: what the last block does to the others is never seen."""
    mask = _left(RIGHT)
    expected = np.asarray(model(IDS, padding_mask=mask))[:, -last:]
    actual = np.asarray(model(IDS, padding_mask=mask, last=last))
    seen = mask[:, -last:]
    assert actual.shape == (B, last, W)
    np.testing.assert_allclose(actual[seen], expected[seen], atol=1e-5)


def test_packed_equals_unpacked(model):
    first, second = IDS[1, :4], IDS[2, :3]
    packed = np.concatenate([first, second, [0, 0]])[None].astype("int32")
    segment_ids = np.array([[1, 1, 1, 1, 2, 2, 2, 0, 0]], "int32")
    hidden = np.asarray(model(packed, segment_ids=segment_ids))[0]
    np.testing.assert_allclose(hidden[:4], np.asarray(model(first[None]))[0], atol=1e-5)
    np.testing.assert_allclose(hidden[4:7], np.asarray(model(second[None]))[0], atol=1e-5)
    assert np.isfinite(hidden).all()


def test_the_future_is_hidden(model):
    changed = IDS.copy()
    changed[:, 5] = (changed[:, 5] + 1) % V
    before, after = np.asarray(model(IDS)), np.asarray(model(changed))
    np.testing.assert_array_equal(after[:, :5], before[:, :5])
    assert (np.abs(after[:, 5:] - before[:, 5:]).max(axis=(0, 2)) > 1e-4).all()


def test_a_row_of_padding_alone_is_finite_and_harms_nobody(model):
    mask = RIGHT.copy()
    mask[1] = False
    hidden = np.asarray(model(IDS, padding_mask=mask))
    assert np.isfinite(hidden).all()
    expected = np.asarray(model(IDS, padding_mask=RIGHT))
    np.testing.assert_allclose(hidden[0], expected[0], atol=1e-5)


def test_every_second_block_sees_a_window_only():
    """Where the dense block passes nothing on, what is 3 columns away cannot be seen."""
    model = _filled(GPT(GPT2.replace(attention_window=3, num_layers=2)))
    for weight in model.blocks[0].attention.output_projection.weights:
        weight.assign(np.zeros(weight.shape))
    changed = IDS.copy()
    changed[:, 2] = (changed[:, 2] + 1) % V
    difference = np.abs(np.asarray(model(changed)) - np.asarray(model(IDS))).max(axis=(0, 2))
    assert (difference[2:5] > 1e-4).all()
    np.testing.assert_array_equal(difference[5:], 0)


def test_rotary_model_sees_distances_alone():
    """Shifting all positions changes nothing in a rotary model, and much in a learned one."""
    for config, same in ((LLAMA, True), (GPT2, False)):
        model = _filled(GPT(config))
        hidden = []
        for shift in (0, 7):
            positions = np.broadcast_to(np.arange(T, dtype="int32") + shift, (B, T))
            visible = np.ones((B, T), "bool")
            hidden.append(
                np.asarray(model.extend(IDS, model.new_cache(B, T), 0, visible, positions)[0])
            )
        assert (np.abs(hidden[0] - hidden[1]).max() < 1e-4) == same


def _parameters(c: GPTConfig) -> int:
    """Counted from the configuration alone, so that nothing large is allocated."""
    heads = c.num_heads * (c.head_dim or c.width // c.num_heads)
    groups = heads // c.num_heads * (c.num_key_value_heads or c.num_heads)
    hidden = c.hidden_dim or 4 * c.width
    attention = c.width * (2 * heads + 2 * groups) + c.use_bias * (heads + 2 * groups + c.width)
    inner = 2 if c.gated else 1
    feed_forward = (inner + 1) * c.width * hidden + c.use_bias * (inner * hidden + c.width)
    norm = c.width * (2 if c.norm == "layer" else 1)
    positions = c.max_positions if c.rotary_base is None else 0
    tables = c.vocab_size * (1 if c.tied else 2) + positions
    return c.width * tables + c.num_layers * (attention + feed_forward + 2 * norm) + norm


@pytest.mark.parametrize(
    "config",
    [GPT2, LLAMA, GPT2.replace(gated=True), LLAMA.replace(use_bias=True), PRESETS["tiny"]],
)
def test_number_of_parameters_follows_from_the_configuration(config):
    assert GPT(config).count_params() == _parameters(config)


@pytest.mark.parametrize(
    "name, published",
    [
        ("gpt2", 124_439_808),
        ("gpt2_medium", 354_823_168),
        ("gpt2_large", 774_030_080),
        ("gpt2_xl", 1_557_611_200),
    ],
)
def test_presets_have_the_published_sizes(name, published):
    assert _parameters(GPTConfig.from_preset(name)) == published


def test_residual_projections_start_smaller_with_depth():
    """Radford et al. 2019, section 2.3: divided by the root of the number of residual layers."""
    model = GPT(GPTConfig(V, 128, 8, 2))
    block = model.blocks[3]
    for dense in (block.attention.output_projection, block.feed_forward.outer):
        assert np.std(dense.kernel) == pytest.approx(0.02 / 4, rel=0.05)
    assert np.std(block.feed_forward.inner.kernel) == pytest.approx(0.02, rel=0.05)


def test_mixed_precision_follows_full_precision():
    full = _filled(CausalLM(LLAMA))
    mixed = CausalLM(LLAMA, dtype="mixed_bfloat16")
    mixed.set_weights(full.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    assert mixed.backbone(IDS).dtype == "bfloat16"
    logits, expected = np.asarray(mixed(IDS)), np.asarray(full(IDS))
    assert logits.dtype == np.float32
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.995


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_heads": 3}, "width=16, num_heads=3"),
        ({"num_heads": 4, "num_key_value_heads": 3}, "num_key_value_heads=3"),
        ({"norm": "batch"}, "Received: 'batch'"),
        ({"norm_placement": "before"}, "Received: 'before'"),
        ({"attention_window": 0}, "Received: window=0"),
        ({"activation": "sine"}, "sine"),
    ],
)
def test_configurations_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GPT(GPT2.replace(**changes))(IDS)
