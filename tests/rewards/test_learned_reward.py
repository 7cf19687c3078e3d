"""Reward models: one score a text, whatever stands around it, with its normalisation."""

import keras
import numpy as np
import pytest

from tfalign.data.response_packing import packed_texts
from tfalign.models import BERT, BERTConfig, GPTConfig
from tfalign.rewards import LearnedReward, PackedReward, RewardModel

V, T = 19, 7
SMALL = {"vocab_size": V, "width": 16, "num_layers": 2, "num_heads": 2, "max_positions": 12}
TRUNKS = {
    "gpt2": GPTConfig(**SMALL, initializer_range=0.4),
    "llama": GPTConfig(
        **SMALL,
        initializer_range=0.4,
        rotary_base=100.0,
        norm="rms",
        gated=True,
        activation="silu",
        use_bias=False,
    ),
    "bert": BERTConfig(**SMALL, initializer_range=0.4),
}
LENGTHS = np.array([7, 1, 4, 6])
IDS = np.random.default_rng(0).integers(0, V, size=(4, T)).astype("int32")
MASK = np.arange(T)[None, :] < LENGTHS[:, None]


@pytest.fixture(scope="module", params=list(TRUNKS))
def model(request):
    keras.utils.set_random_seed(0)
    model = RewardModel(TRUNKS[request.param])
    model.head.dense.bias.assign([0.3])
    return model


@pytest.fixture(scope="module")
def scores(model):
    scores = np.asarray(model(IDS, padding_mask=MASK))
    assert scores.shape == (4,) and scores.dtype == np.float32
    assert np.ptp(scores) > 0.1
    return scores


def _rolled(rows, left):
    """Each row's real tokens moved to the right by ``left`` columns of padding, per row."""
    return np.stack([np.roll(row, n) for row, n in zip(rows, left)])


@pytest.mark.parametrize("side", ["left", "middle"])
def test_padding_side_is_irrelevant(model, scores, side):
    left = T - LENGTHS if side == "left" else (T - LENGTHS) // 2
    moved = model(_rolled(IDS, left), padding_mask=_rolled(MASK, left))
    np.testing.assert_allclose(moved, scores, atol=1e-5)


def test_more_padding_and_what_stands_there_are_irrelevant(model, scores):
    longer = np.pad(np.where(MASK, IDS, 5), ((0, 0), (1, 3)), constant_values=2)
    mask = np.pad(MASK, ((0, 0), (1, 3)))
    np.testing.assert_allclose(model(longer, padding_mask=mask), scores, atol=1e-5)


def test_batch_size_and_order_are_irrelevant(model, scores):
    order = [2, 0, 3, 1]
    shuffled = model(IDS[order], padding_mask=MASK[order])
    np.testing.assert_allclose(shuffled, scores[order], atol=1e-5)
    for row, score in enumerate(scores):
        alone = model(IDS[row : row + 1, : LENGTHS[row]], padding_mask=np.ones((1, LENGTHS[row])))
        np.testing.assert_allclose(alone, [score], atol=1e-5)


def test_reads_a_decoder_at_its_last_real_token_and_an_encoder_at_its_first(model, scores):
    hidden = np.asarray(model.backbone(IDS, padding_mask=MASK))
    if isinstance(model.backbone, BERT):
        kernel, bias = model.backbone.pooler.get_weights()
        features = np.tanh(hidden[:, 0] @ kernel + bias)
    else:
        features = hidden[np.arange(4), LENGTHS - 1]
    kernel, bias = model.head.dense.get_weights()
    np.testing.assert_allclose(features @ kernel[:, 0] + bias[0], scores, atol=1e-5)


def test_normalisation_travels_with_the_weights(model, scores, tmp_path):
    """Mean 0 and deviation 1 on the samples, the order kept; a second time changes nothing."""
    before = model.head.get_weights()
    reward = LearnedReward(model)
    batches = [(IDS[:2], MASK[:2]), (IDS[2:], MASK[2:])]
    try:
        found = reward.normalize(batches)
        assert found["count"] == 4
        assert found["mean"] == pytest.approx(scores.mean(), abs=1e-5)
        assert found["std"] == pytest.approx(scores.std(), abs=1e-5)
        normal = np.concatenate([reward(*batch, None) for batch in batches])
        np.testing.assert_allclose(normal, (scores - scores.mean()) / scores.std(), atol=1e-4)
        again = reward.normalize(batches)
        assert again["mean"] == pytest.approx(0, abs=1e-5)
        assert again["std"] == pytest.approx(1, abs=1e-5)
        assert reward.compiled.traces == 1  # the weights changed, the program did not
        model.save(tmp_path / "reward.keras")
        restored = keras.saving.load_model(tmp_path / "reward.keras")
        assert type(restored.backbone) is type(model.backbone)
        np.testing.assert_allclose(restored(IDS, padding_mask=MASK), normal, atol=1e-5)
    finally:
        model.head.set_weights(before)


@pytest.mark.parametrize("trunk", [name for name in TRUNKS if name != "bert"])
def test_packed_texts_score_what_they_score_alone(trunk):
    model = RewardModel(TRUNKS[trunk])
    expected = model(IDS, padding_mask=MASK)
    packed = packed_texts(IDS, MASK)
    assert packed.token_ids.size < IDS.size
    np.testing.assert_allclose(PackedReward(model)(IDS, MASK, None), expected, atol=1e-5)


def test_equal_scores_cannot_be_normalised():
    model = RewardModel(TRUNKS["gpt2"])
    model.head.dense.kernel.assign(np.zeros((16, 1)))
    with pytest.raises(ValueError, match="must spread to be normalised. Received: std=0"):
        LearnedReward(model).normalize([(IDS, MASK)])


def test_mixed_precision_scores_in_float32():
    full = RewardModel(TRUNKS["gpt2"])
    mixed = RewardModel(TRUNKS["gpt2"], dtype="mixed_bfloat16")
    mixed.set_weights(full.get_weights())
    scores = np.asarray(mixed(IDS, padding_mask=MASK))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, full(IDS, padding_mask=MASK), atol=0.1)
