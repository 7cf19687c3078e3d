"""Bradley-Terry by hand, with the scores given."""

import numpy as np
import pytest
from keras import ops

from tfalign.models import GPTConfig
from tfalign.objectives import RewardModelling, score_pairs
from tfalign.rewards import RewardModel
from tfalign.types import PreferencePairs

CHOSEN = np.array([1.0, -0.5, 2.0, 0.25], "float32")
REJECTED = np.array([0.0, 0.5, 2.0, -1.0], "float32")
MARGIN = np.array([0.0, 0.5, 1.0, 2.0], "float32")


def pairs_of_scores(margin):
    """Pairs whose first token is their own score, in quarters."""

    def ids(scores):
        return np.round(scores * 4).astype("int32")[:, None]

    mask = np.ones((4, 1), "bool")
    return PreferencePairs(ids(CHOSEN), mask, ids(REJECTED), mask, margin)


class FirstToken:
    """A reward model that counts its calls; its score is a quarter of the first token."""

    def __init__(self):
        self.calls = []

    def __call__(self, token_ids, padding_mask, training):
        self.calls.append((tuple(token_ids.shape), tuple(padding_mask.shape), training))
        return ops.cast(token_ids[:, 0], "float32") / 4


@pytest.mark.parametrize("centering", [0.0, 0.01])
@pytest.mark.parametrize("margin", [np.zeros(4, "float32"), MARGIN], ids=["none", "margin"])
def test_loss_and_metrics_by_hand(margin, centering):
    model = FirstToken()
    loss, weight, metrics = RewardModelling(centering)(model, pairs_of_scores(margin))
    gaps = CHOSEN.astype("float64") - REJECTED  # 1, -1, 0, 1.25
    expected = np.log1p(np.exp(margin - gaps)) + centering * (CHOSEN + REJECTED) ** 2
    np.testing.assert_allclose(float(loss), expected.sum(), rtol=1e-6)
    assert float(weight) == 4
    total, count = metrics["accuracy"]
    assert (float(total), float(count)) == (2.5, 4)  # right, wrong, a tie, right
    total, count = metrics["score_gap"]
    assert (float(total), float(count)) == (1.25, 4)
    assert model.calls == [((8, 1), (8, 1), True)]  # both sides in one forward pass


def test_known_values():
    loss, _, _ = RewardModelling()(FirstToken(), pairs_of_scores(np.zeros(4, "float32")))
    # log(1 + 1/e) + log(1 + e) + log 2 + log(1 + exp(-1.25))
    np.testing.assert_allclose(
        float(loss), 0.3132617 + 1.3132617 + 0.6931472 + 0.2519290, rtol=1e-6
    )


def test_scores_are_those_of_each_side_alone():
    model = RewardModel(GPTConfig(9, 8, 1, 2, max_positions=8))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    ids = rng.integers(1, 9, (2, 3, 6)).astype("int32")
    masks = np.arange(6) < np.array([[[6], [2], [4]], [[1], [6], [3]]])
    batch = PreferencePairs(ids[0], masks[0], ids[1], masks[1], np.zeros(3, "float32"))
    chosen, rejected = score_pairs(model, batch)
    for side, scores in enumerate((chosen, rejected)):
        for row, score in enumerate(np.asarray(scores)):
            alone = ids[side, row][masks[side, row]][None]
            expected = model(alone, padding_mask=np.ones_like(alone, "bool"))
            np.testing.assert_allclose(score, float(expected[0]), rtol=1e-5, atol=1e-6)
