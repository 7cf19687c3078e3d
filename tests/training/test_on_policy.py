"""One iteration of on-policy training, with a worker and a learner that write down what they get."""

import numpy as np
import pytest

from tfalign.rewards.errors import RewardError
from tfalign.training.kl_control import AdaptiveKL, FixedKL
from tfalign.training.on_policy import improve
from tfalign.training.responses import RolloutConfig
from tfalign.types import Prompts, Rollout

ROWS = 8
PROMPTS = Prompts(np.ones((ROWS, 3), "int32"), np.ones((ROWS, 3), "bool"))


class Worker:
    """Rollouts whose every field says which row it is."""

    config = RolloutConfig(2)

    def __init__(self):
        self.asked = []

    def __call__(self, prompts, seed, kl_coefficient):
        self.asked.append((int(seed), kl_coefficient))
        per_row = np.arange(ROWS)
        fields = {name: np.tile(per_row[:, None], (1, 2)) for name in Rollout._fields}
        return Rollout(**fields | {"scores": per_row}), {"score": 3.5, "kl": 9.0}

    def learn(self, statistics):
        self.learnt = statistics


class Learner:
    """Says a larger ``approx_kl`` at every update; one of ``skipped`` says what is not finite."""

    def __init__(self, skipped=()):
        self.rows, self.skipped = [], skipped

    def update(self, batch):
        rows = np.asarray(batch.scores).tolist()
        for field in batch._replace(scores=np.asarray(batch.scores)[:, None]):
            assert np.asarray(field)[:, 0].tolist() == rows  # all fields of a row stay together
        self.rows.append(rows)
        count = len(self.rows)
        if self.skipped:
            number = np.float32(np.nan) if count in self.skipped else np.float32(count)
            so_far = sum(count >= each for each in self.skipped)
            return {"loss": number, "approx_kl": 0.01 * number, "skipped_updates": float(so_far)}
        return {"loss": np.float32(count), "approx_kl": 0.01 * count, "max_log_ratio": 0.1 * count}


def run(seed=0, step=1, kl_control=None, **choices):
    worker, learner = Worker(), Learner()
    control = kl_control or FixedKL(0.05)
    rollout, logs = improve(worker, learner, PROMPTS, control, seed=seed, step=step, **choices)
    assert np.asarray(rollout.scores).tolist() == list(range(ROWS))
    return worker, learner, logs


@pytest.mark.parametrize("minibatch_size", [None, 8, 4, 2, 1])
def test_every_epoch_goes_through_every_row_once(minibatch_size):
    _, learner, logs = run(epochs=3, minibatch_size=minibatch_size)
    size = minibatch_size or ROWS
    assert {len(rows) for rows in learner.rows} == {size}
    assert logs["updates"] == len(learner.rows) == 3 * ROWS // size
    epochs = np.reshape(learner.rows, (3, ROWS)).tolist()
    assert [sorted(epoch) for epoch in epochs] == [list(range(ROWS))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3  # each in an order of its own


def test_seed_and_step_decide_everything():
    def outcome(seed, step):
        worker, learner, _ = run(seed=seed, step=step, minibatch_size=4)
        return worker.asked, learner.rows

    assert outcome(1, 2) == outcome(1, 2)
    others = [outcome(1, 2), outcome(1, 3), outcome(2, 2), outcome(2, 1)]
    assert len({asked[0][0] for asked, _ in others}) == 4
    assert len({str(rows) for _, rows in others}) == 4
    assert all(0 <= asked[0][0] < 2**32 for asked, _ in others)


def test_four_epochs_by_default():
    assert len(run()[1].rows) == 4


@pytest.mark.parametrize(
    ("target_kl", "epochs_done"),
    [(None, 4), (1.0, 4), (0.05, 3), (0.04, 3), (0.015, 1), (0.0, 1)],
)
def test_target_kl_stops_the_epochs(target_kl, epochs_done):
    """Two updates an epoch: approx_kl is 0.02 after the first, 0.04, 0.06, 0.08 after the others."""
    _, learner, logs = run(minibatch_size=4, target_kl=target_kl)
    assert len(learner.rows) == logs["updates"] == 2 * epochs_done


@pytest.mark.parametrize("minibatch_size", [3, 5, 16])
def test_minibatches_must_divide_the_batch(minibatch_size):
    with pytest.raises(
        ValueError, match=f"Minibatches of {minibatch_size} do not divide a batch of 8 rollouts"
    ):
        run(minibatch_size=minibatch_size)


def test_what_is_recorded():
    _, _, logs = run(epochs=1, minibatch_size=2)
    assert logs == pytest.approx(
        {
            "score": 3.5,
            "kl": 9.0,
            "loss": 2.5,
            "approx_kl": 0.025,
            "max_log_ratio": 0.25,
            "kl_coefficient": 0.05,
            "updates": 4.0,
            "first_max_log_ratio": 0.1,
        }
    )
    assert all(type(value) is float for value in logs.values())


@pytest.mark.parametrize(
    ("skipped", "loss", "epochs_done"),
    [((1,), 4.0, 3), ((6,), 30 / 7, 4), ((1, 2, 3, 4, 5, 6, 7, 8), np.nan, 4)],
)
def test_what_an_update_was_skipped_for_is_in_no_mean_and_no_decision(skipped, loss, epochs_done):
    """Two updates an epoch; the epochs end after an approx_kl above 0.05, here that of the sixth."""
    worker, learner, control = Worker(), Learner(skipped), FixedKL(0.05)
    _, logs = improve(
        worker, learner, PROMPTS, control, seed=0, step=1, minibatch_size=4, target_kl=0.05
    )
    assert len(learner.rows) == 2 * epochs_done
    np.testing.assert_allclose(logs["loss"], loss)
    assert logs["skipped_updates"] == len([each for each in skipped if each <= len(learner.rows)])


@pytest.mark.parametrize("on_bad", ["stop", "skip"])
def test_a_bad_batch_stops_the_run_or_is_left_alone(on_bad):
    def worker(*_):
        raise RewardError("The score of row 3 is not finite. Received: nan")

    learner, control = Learner(), AdaptiveKL(0.1)

    def step():
        return improve(worker, learner, PROMPTS, control, seed=0, step=1, on_bad=on_bad)

    if on_bad == "stop":
        with pytest.raises(RewardError, match="row 3"):
            step()
    else:
        with pytest.warns(UserWarning, match="Batch 1 is skipped: The score of row 3"):
            assert step() == (None, {"skipped": 1.0})
    assert not learner.rows and control.coefficient == 0.1


def test_on_bad_is_one_of_two():
    with pytest.raises(ValueError, match="Received: on_bad='ignore'"):
        run(on_bad="ignore")


def test_baseline_and_cost_limit_learn_from_what_was_used():
    assert run()[0].learnt == {"score": 3.5, "kl": 9.0}


def test_kl_coefficient_moves_after_the_update():
    control = AdaptiveKL(0.1, target=6.0, horizon=100)
    worker, _, logs = run(kl_control=control)
    assert worker.asked[0][1] == logs["kl_coefficient"] == 0.1
    assert control.coefficient == pytest.approx(0.1 * (1 + 0.2 * ROWS / 100))
