"""Rankings and steps: objectives by hand, with the scores given."""

import numpy as np
import pytest
from keras import ops

from tfalign.functional.losses import all_pairs_loss, best_of_k_loss, plackett_luce_loss
from tfalign.objectives import ProcessRewardModelling, RankedRewardModelling
from tfalign.types import LabelledSteps, RankedResponses

SCORES = np.array([[2.0, 1.0, -1.0], [0.5, 1.5, 9.0], [3.0, 9.0, 9.0]], "float32")
PRESENT = np.array([[True, True, True], [True, True, False], [True, False, False]])


def batch_of_scores():
    """Rankings whose first token is their own score, in halves."""
    ids = np.round(SCORES * 2).astype("int32")[..., None]
    zeros = np.zeros_like(SCORES)
    return RankedResponses(ids, np.ones_like(ids, "bool"), PRESENT[..., None], zeros)


class FirstToken:
    """Scores half the first token; counts its calls."""

    def __init__(self):
        self.rows = []

    def __call__(self, token_ids, padding_mask, training):
        self.rows.append(tuple(token_ids.shape))
        return ops.cast(token_ids[:, 0], "float32") / 2


def bradley_terry(gap):
    return np.log1p(np.exp(-gap))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            plackett_luce_loss,
            np.log(np.exp([2, 1, -1]).sum()) - 2 + bradley_terry(2.0) + bradley_terry(-1.0),
        ),
        (best_of_k_loss, np.log(np.exp([2, 1, -1]).sum()) - 2 + bradley_terry(-1.0)),
        (
            all_pairs_loss,
            np.mean(bradley_terry(np.array([1.0, 3.0, 2.0]))) + bradley_terry(-1.0),
        ),
    ],
)
def test_rankings_by_hand(loss, expected):
    model = FirstToken()
    total, weight, metrics = RankedRewardModelling(loss)(model, batch_of_scores())
    np.testing.assert_allclose(float(total), expected, rtol=1e-5)
    assert float(weight) == 2  # the third prompt has nothing to compare
    assert [float(x) for x in metrics["accuracy"]] == [3, 4]  # three of three, none of one
    assert model.rows == [(9, 1)]  # one forward pass


def test_steps_by_hand():
    ids = np.zeros((2, 4), "int32")
    ends = np.array([[False, True, False, True], [False, False, True, False]])
    labels = np.array([[False, True, False, False], [False, False, True, False]])
    logits = np.array([[9.0, np.log(3), 9.0, 0.5], [9.0, 9.0, -np.log(3), 9.0]], "float32")
    batch = LabelledSteps(ids, np.ones((2, 4), "bool"), ends, labels)
    total, weight, metrics = ProcessRewardModelling()(
        lambda token_ids, padding_mask, training: ops.convert_to_tensor(logits), batch
    )
    expected = -np.log(0.75) + np.log1p(np.exp(0.5)) - np.log(0.25)
    np.testing.assert_allclose(float(total), expected, rtol=1e-5)
    assert float(weight) == 3
    assert [float(x) for x in metrics["accuracy"]] == [1, 3]
