"""Alignment in environments of text: a guessing game of several turns."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from keras import tree

import tfalign
from tfalign.data import PromptRecord
from tfalign.rewards import RewardError
from tfalign.rewards.environment import EnvironmentReward
from tfalign.text import train_byte_bpe

FEW = {"batch_size": 8, "steps": 2, "max_prompt_tokens": 4, "max_new_tokens": 12}
RECORDS = [{"prompt": "?", "secret": str(1 + i % 3)} for i in range(16)]


class Guessing:
    """Guess a digit of 1, 2, 3; what is not right is answered with < or >."""

    def reset(self, record):
        self.secret, self.left = int(record["secret"]), 3

    def step(self, action):
        self.left -= 1
        right = action == str(self.secret)
        said = "<" if action < str(self.secret) else ">"
        return said, float(right) - 0.25, right or not self.left


def trainer_of(start, run_dir, environment=Guessing, **options):
    options = {"algorithm": "rloo", "constraint": "regex:[1-3]"} | FEW | options
    return tfalign.OnPolicyTrainer(start[0], environment, RECORDS, run_dir=run_dir, **options)


class Counting(Guessing):
    """The game, which counts its turns."""

    def statistics(self):
        return {"guesses": 3.0 - self.left}


@pytest.mark.slow
def test_what_environments_count_is_logged(start, tmp_path):
    trainer = trainer_of(start, tmp_path, Counting)
    rollout, statistics = trainer.worker(next(trainer.prompts), 3, 0.0)
    tokens = np.asarray(rollout.token_ids)[:, -12:]
    ends = (tokens == trainer.tokenizer.stop_ids[0]) & np.asarray(rollout.response_mask)
    assert statistics["guesses"] == pytest.approx(ends.sum(axis=1).mean())


def test_turns_answers_and_what_they_earn(start, tmp_path):
    trainer = trainer_of(start, tmp_path)
    rollout, statistics = trainer.worker(next(trainer.prompts), 3, 0.0)
    columns = np.asarray(rollout.response_mask)
    stop = trainer.tokenizer.stop_ids[0]
    rows = zip(
        np.asarray(rollout.token_ids)[:, -12:], columns, np.asarray(rollout.padding_mask)[:, -12:]
    )
    for (ids, mask, written), score in zip(rows, np.asarray(rollout.scores)):
        spelled = "".join(
            "." if token == stop else trainer.tokenizer.decode([int(token)])
            for token in ids[written]
        )
        policys = "".join("p" if own else "u" for own in mask[written])
        turns = spelled.replace("<", "").replace(">", "").rstrip(".").split(".")
        assert policys == "ppu" * (len(turns) - 1) + "pp"
        assert 1 <= len(turns) <= 3 and all(turn in "123" for turn in turns)
        hints = [character for character in spelled if character in "<>"]
        last = turns[-1]
        low = max((t for t, h in zip(turns, hints) if h == "<"), default="0")
        high = min((t for t, h in zip(turns, hints) if h == ">"), default="4")
        expected = -0.25 * len(turns)
        if score > expected + 0.5:
            assert low < last < high
            expected += 1
        else:
            assert len(turns) == 3
        assert score == pytest.approx(expected)
    assert statistics["ended"] == 1


@pytest.mark.slow
def test_the_first_ratio_is_one_and_the_policy_moves(start, tmp_path):
    trainer = trainer_of(start, tmp_path, learning_rate=1e-2)
    before = [w.copy() for w in trainer.pretrained.model.get_weights()]
    metrics = trainer.train()
    assert metrics["first_max_log_ratio"] <= 1e-5
    after = trainer.pretrained.model.get_weights()
    assert any((a != b).any() for a, b in zip(before, after))


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_if_it_had_not_been(start, resumed):
    def make(run_dir, callbacks):
        choices = {"steps": 6, "save_every": 2, "log_every": 1, "callbacks": callbacks}
        return trainer_of(start, run_dir, **choices)

    resumed(make, cut=3)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda self, action: 1 / 0, "environment of row 0 failed at '.*ZeroDivisionError"),
        (
            lambda self, action: "a",
            r"returns \(observation, reward, done\). Received: 'a' of row 0",
        ),
        (lambda self, action: ("a", float("nan"), True), "reward of row 0 is not a finite number"),
    ],
)
def test_an_environment_that_fails_is_told(step, message):
    tokenizer = train_byte_bpe([], 259)
    broken = type("Broken", (Guessing,), {"step": step})
    records = [PromptRecord("?", row={"secret": "1"})]
    reward = EnvironmentReward(broken, records, tokenizer)
    ids = np.array([[5, *tokenizer.encode("1"), tokenizer.eos_id]])
    with pytest.raises(RewardError, match=message):
        reward(ids, np.ones((1, 3), "bool"), np.ones((1, 2), "bool"), np.array([0]))


class OfGymnasium(gymnasium.Env):
    """The game as an environment of Gymnasium."""

    action_space = observation_space = gymnasium.spaces.Text(9)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.game = Guessing()
        self.game.reset(options)
        return "?", {}

    def step(self, action):
        said, reward, done = self.game.step(action)
        lost = done and reward < 0
        return said, reward, done and not lost, lost, {}


@pytest.mark.slow
def test_an_environment_of_gymnasium_is_one(start, tmp_path):
    prompts, plays = None, []
    for environment in (Guessing, OfGymnasium):
        trainer = trainer_of(start, tmp_path / environment.__name__, environment)
        prompts = next(trainer.prompts) if prompts is None else prompts
        plays.append(trainer.worker.responder(prompts, seed=3))
    for ours, theirs in zip(plays[0], plays[1]):
        for one, other in zip(tree.flatten(ours), tree.flatten(theirs)):
            np.testing.assert_array_equal(one, other)
    assert np.unique(plays[0].scores).size > 1


def test_an_environment_is_no_part_of_a_reward(start, tmp_path):
    with pytest.raises(ValueError, match="the whole reward, not a part of one. Received: reward 1"):
        trainer_of(start, tmp_path / "run", [lambda prompt, response: 0.0, Guessing])


def test_rows_are_replayed_from_their_texts():
    """Another process, or a row that was drawn again, knows nothing of the plays before."""
    tokenizer = train_byte_bpe([], 259)
    records = [PromptRecord("?", row={"secret": secret}) for secret in "123"]
    stop = [tokenizer.eos_id]
    said = tokenizer.encode("1") + stop + tokenizer.encode("<") + tokenizer.encode("2") + stop
    mask = np.array([[True, True, False, True, True]] * 3)
    ids = np.array([[7, *said]] * 3)
    for _ in range(2):
        reward = EnvironmentReward(Guessing, records, tokenizer)
        earned = reward(ids, np.ones(ids.shape, "bool"), mask, np.arange(3))
        np.testing.assert_allclose(
            earned, [[0, 0.75, 0, 0, 0], [0, -0.25, 0, 0, 0.75], [0, -0.25, 0, 0, -0.25]]
        )
        np.testing.assert_allclose(reward(ids, None, mask, np.arange(3)[::-1]), earned[::-1])


@pytest.mark.slow
def test_an_instance_begins_anew_for_every_row(start, tmp_path):
    trainer = trainer_of(start, tmp_path, environment=Guessing())
    rollout, _ = trainer.worker(next(trainer.prompts), 3, 0.0)
    again, _ = trainer_of(start, tmp_path).worker(next(trainer_of(start, tmp_path).prompts), 3, 0.0)
    np.testing.assert_array_equal(rollout.scores, again.scores)
