"""Process rewards: where steps end, and how they make one number."""

import numpy as np
import pytest

from tfalign.models import GPTConfig, from_pretrained, save_pretrained
from tfalign.rewards import ProcessReward, ProcessRewardModel, product_of_steps, worst_step

SEPARATOR = 7
IDS = np.array([[1, 2, 7, 3, 7, 4], [0, 1, 7, 3, 2, 0], [1, 7, 4, 7, 0, 0], [1, 7, 0, 0, 0, 0]])
LENGTHS = np.array([4, 3, 2, 0])  # of the responses, in the last four columns
MASK = np.arange(4) < LENGTHS[:, None]


class GivenLogits:
    """The logit of a column is given by its place."""

    variables = ()

    def __call__(self, token_ids, padding_mask, training):
        return np.broadcast_to(np.array([9, 9, 0.5, 9, -1.0, 2.0], "float32"), token_ids.shape)


def sigma(x):
    return 1 / (1 + np.exp(-np.array(x)))


@pytest.mark.parametrize(("combine", "reduce"), [(product_of_steps, np.prod), (worst_step, np.min)])
def test_steps_end_at_separators_and_at_the_end(combine, reduce):
    reward = ProcessReward(GivenLogits(), SEPARATOR, combine)
    padding_mask = np.concatenate([np.ones((4, 2), "bool"), MASK], axis=1)
    scores = reward(IDS.astype("int32"), padding_mask, MASK)
    # separators of the prompt end no step of the response; the last step may end with one too
    expected = [reduce(sigma([0.5, -1, 2])), reduce(sigma([0.5, -1])), sigma(9.0), 1.0]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_a_model_is_saved_and_scores_the_same(tmp_path):
    config = GPTConfig(11, 16, 2, 2, max_positions=8, initializer_range=0.4)
    model = ProcessRewardModel(config)
    model.head.dense.kernel.assign(np.random.default_rng(0).normal(size=(16, 1)))
    model.head.dense.bias.assign([0.3])
    ids = np.arange(6, dtype="int32")[None]
    scores = np.asarray(model(ids))
    assert scores.shape == (1, 6) and np.ptp(scores) > 0.5
    save_pretrained(model, tmp_path / "model")
    again = from_pretrained(tmp_path / "model")
    assert isinstance(again, ProcessRewardModel)
    np.testing.assert_allclose(again(ids), scores, atol=1e-6)
