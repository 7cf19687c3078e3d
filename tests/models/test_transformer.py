"""The encoder-decoder: who sees what, and that it can learn."""

import numpy as np
import pytest

from tfalign.models import Transformer, TransformerConfig

V, B, S, T = 11, 2, 6, 5
CONFIG = TransformerConfig(V, 16, 2, 2)
_random = np.random.default_rng(0)
SOURCE = _random.integers(1, V, size=(B, S)).astype("int32")
TARGET = _random.integers(1, V, size=(B, T)).astype("int32")
SOURCE_MASK = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], "bool")


@pytest.fixture(scope="module", params=[False, True], ids=["post-norm", "pre-norm"])
def model(request) -> Transformer:
    return Transformer(CONFIG.replace(pre_norm=request.param))


def test_logits_are_float32_of_the_target(model):
    logits = np.asarray(model(SOURCE, TARGET))
    assert logits.shape == (B, T, V) and logits.dtype == np.float32


def test_the_target_is_read_causally(model):
    changed = TARGET.copy()
    changed[:, 2] = changed[:, 2] % (V - 1) + 1
    before, after = np.asarray(model(SOURCE, TARGET)), np.asarray(model(SOURCE, changed))
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert (np.abs(after[:, 2:] - before[:, 2:]).max(axis=2) > 1e-5).all()


def test_every_real_source_token_is_seen_and_no_other(model):
    logits = np.asarray(model(SOURCE, TARGET, source_mask=SOURCE_MASK))
    hidden = np.where(SOURCE_MASK, SOURCE, SOURCE % (V - 1) + 1).astype("int32")
    np.testing.assert_array_equal(model(hidden, TARGET, source_mask=SOURCE_MASK), logits)
    for column in range(4):
        seen = SOURCE.copy()
        seen[0, column] = seen[0, column] % (V - 1) + 1
        changed = np.asarray(model(seen, TARGET, source_mask=SOURCE_MASK))
        assert np.abs(changed[0] - logits[0]).max() > 1e-6


def test_padding_side_of_the_source_is_irrelevant(model):
    right = model(SOURCE, TARGET, source_mask=SOURCE_MASK)
    source, mask = SOURCE.copy(), SOURCE_MASK.copy()
    source[0], mask[0] = np.roll(source[0], 2), np.roll(mask[0], 2)
    np.testing.assert_allclose(model(source, TARGET, source_mask=mask), right, atol=1e-5)


def test_padding_side_of_the_target_is_irrelevant(model):
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "bool")
    right = np.asarray(model(SOURCE, TARGET, target_mask=mask))
    target, left = TARGET.copy(), mask.copy()
    target[0], left[0] = np.roll(target[0], 2), np.roll(left[0], 2)
    moved = np.asarray(model(SOURCE, target, target_mask=left))
    np.testing.assert_allclose(moved[0, 2:], right[0, :3], atol=1e-5)


def test_encoding_once_and_decoding_equals_one_call(model):
    context = model.encode(SOURCE, SOURCE_MASK)
    np.testing.assert_array_equal(
        model.decode(TARGET, context, SOURCE_MASK), model(SOURCE, TARGET, source_mask=SOURCE_MASK)
    )


def test_embeddings_are_scaled_and_sinusoidal_positions_added(model):
    """Section 3.4: the table is multiplied by sqrt(W)."""
    embedded = np.asarray(model._embed(SOURCE, np.ones((B, S), "bool"), training=False))
    table = np.asarray(model.token_embedding.embeddings)[SOURCE]
    positions = np.asarray(model.positions(np.arange(S)[None]))
    np.testing.assert_allclose(embedded, 4 * table + positions, atol=1e-5)


def test_base_preset_has_the_papers_size():
    """65 million parameters in table 3; blocks and one shared table of 37,000 rows."""
    c = TransformerConfig.from_preset("base")
    attention = 4 * c.width * (c.width + 1)
    feed_forward = 2 * c.width * 4 * c.width + 5 * c.width
    encoder, decoder = attention + 2 * 2 * c.width, 2 * attention + 3 * 2 * c.width
    total = c.vocab_size * c.width + c.num_layers * (encoder + decoder + 2 * feed_forward)
    assert round(total / 1e6) in (63, 64, 65)
    small = Transformer(CONFIG)
    attention, feed_forward = 4 * 16 * 17, 2 * 16 * 64 + 5 * 16
    blocks = 3 * attention + 2 * feed_forward + 5 * 2 * 16
    assert small.count_params() == V * 16 + 2 * blocks


def test_unbuildable_configuration():
    with pytest.raises(ValueError, match="width=16, num_heads=3"):
        Transformer(CONFIG.replace(num_heads=3))


def test_extending_the_cache_equals_decoding_at_once(model):
    """Two columns, then one, then two; two target rows share the first source."""
    source, mask = SOURCE[:1], SOURCE_MASK[:1]
    context = model.encode(source, mask)
    memory, cache = model.remember(context), model.new_cache(B, T)
    visible = np.ones((B, T), "bool")
    parts = []
    for first, last in ((0, 2), (2, 3), (3, T)):
        positions = np.broadcast_to(np.arange(first, last), (B, last - first)).astype("int32")
        hidden, cache = model.extend(
            TARGET[:, first:last], cache, first, visible, positions, memory, mask
        )
        parts.append(model.logits(hidden, model.readout_kernel()))
    at_once = [model.decode(TARGET[row : row + 1], context, mask)[0] for row in range(B)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), np.stack(at_once), atol=1e-5)
