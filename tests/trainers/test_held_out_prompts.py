"""``OnPolicyTrainer`` on held-out prompts: their mean reward by hand, whose records a reward gets, the best
weights, a stop in time, and a run that is cut off."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file

import tfalign
from tests.sampling import with_slow
from tests.trainers.runs import lines_of
from tfalign.decoding import Sampler, generate
from tfalign.rewards import RewardError, TextReward
from tfalign.training.lagrange import CostLimit, CostLimits
from tfalign.training.on_policy import rollout_seed

FEW = {"max_prompt_tokens": 4, "max_new_tokens": 4, "batch_size": 4, "steps": 4}
FEW |= {"learning_rate": 1e-2, "save_every": 2, "temperature": 0.7, "seed": 3}
TRAIN = [{"prompt": f"Q{i}.", "of": "train", "number": i} for i in range(8)]
HELD_OUT = [{"prompt": f"{i:02d}?", "of": "test", "number": i} for i in range(6)]
PROMPTS = [record["prompt"] for record in HELD_OUT]
SCORES = [-1.0, 2.0, 1.0, 2.0]  # the first of equals is the best


def low_letters(prompt, response):
    """The fraction of a response's characters in the lower half of ASCII."""
    return sum(ord(letter) < 64 for letter in response) / max(len(response), 1)


def trainer_of(start, run_dir=None, reward=low_letters, callbacks=(), **options):
    options = {"algorithm": "rloo", "held_out": HELD_OUT} | FEW | options
    data = options.pop("data", TRAIN)
    return tfalign.OnPolicyTrainer(
        start[0], reward, data, run_dir=run_dir, callbacks=callbacks, **options
    )


def with_scores(trainer, scores=SCORES):
    """(the trainer, which is told what its held-out mean reward is after each step; what it measured itself)."""
    evaluate, measured = trainer.evaluate, []

    def told(held_out):
        measured.append(evaluate(held_out))
        return measured[-1] | {"eval_score": scores[int(trainer.learner.optimizer.iterations) - 1]}

    trainer.evaluate = told
    return trainer, measured


class Weights(keras.callbacks.Callback):
    """The embedding after each step."""

    def __init__(self):
        super().__init__()
        self.after = {}

    def on_train_batch_end(self, batch, logs=None):
        self.after[batch] = np.array(self.model.policy.backbone.token_embedding.weights[0])


class Ended(NamedTuple):
    """A run that is over."""

    trainer: Any
    measured: list  # at each step, before the reward was replaced
    weights: Weights
    seen: list  # (prompt, response, record) of every reward
    traces: list  # of the decode loop and of the comparison


@pytest.fixture(scope="module")
def ended(start, tmp_path_factory):
    """A run that is evaluated after each of four steps, and keeps the second's weights."""
    seen, weights = [], Weights()

    def reward(prompt, response, record):
        seen.append((prompt, response, record))
        return low_letters(prompt, response)

    run = tmp_path_factory.mktemp("ended") / "run"
    given = {"eval_every": 1, "keep_best": True}
    trainer = trainer_of(start, run, {"letters": (0.5, reward)}, [weights], **given)
    trainer, measured = with_scores(trainer)
    trainer.train()
    worker = trainer.worker
    traces = [worker.responder.generator.compiled.traces, worker.comparison.traces]
    return Ended(trainer, measured, weights, seen, traces)


def saved_embedding(trainer):
    return load_file(trainer.model_directory / "model.safetensors")["model.embed_tokens.weight"]


@pytest.mark.slow
def test_the_weights_of_the_highest_reward_are_saved(ended):
    assert (ended.trainer.best.step, ended.trainer.best.loss) == (2, -2.0)
    lines = lines_of(ended.trainer.run.path)
    assert [(line["eval_score"], line["best_step"]) for line in lines] == list(
        zip(SCORES, (1, 2, 2, 2))
    )
    np.testing.assert_array_equal(saved_embedding(ended.trainer), ended.weights.after[2])
    assert (ended.weights.after[2] != ended.weights.after[4]).any()


@pytest.mark.slow
def test_the_means_are_those_of_responses_sampled_apart(start, ended):
    """Six prompts, in batches of four; a response that does not end costs 1, as in training."""
    aligned, before = tfalign.load(ended.trainer.model_directory), tfalign.load(start[0])
    tokenizer, measured = aligned.tokenizer, ended.measured[1]
    prompts = np.array([[tokenizer.bos_id, *tokenizer.encode(prompt)] for prompt in PROMPTS])
    choices = {"max_new_tokens": 4, "seed": rollout_seed(3, 0), "stop_tokens": tokenizer.stop_ids}
    sampled = generate(aligned.model, prompts, sampler=Sampler(0.7), **choices)
    tokens, mask = np.asarray(sampled.tokens), np.asarray(sampled.mask)
    texts = [tokenizer.decode(row[real].tolist()) for row, real in zip(tokens, mask)]
    stopped = np.isin(tokens, tokenizer.stop_ids).any(axis=1)
    rewards = 0.5 * np.array(list(map(low_letters, PROMPTS, texts))) - ~stopped
    assert measured["eval_score"] == pytest.approx(rewards.mean(), rel=1e-6)
    assert measured["eval_response_length"] == mask.sum() / 6
    assert measured["eval_ended"] == stopped.mean()
    logits = before.model(np.concatenate([prompts, tokens], axis=1))[:, 3:-1] / 0.7
    reference = np.take_along_axis(np.asarray(ops.log_softmax(logits)), tokens[..., None], -1)
    log_ratios = np.where(mask, np.asarray(sampled.log_probs) - reference[..., 0], 0)
    assert abs(measured["eval_kl"]) > 1e-3
    assert measured["eval_kl"] == pytest.approx(log_ratios.sum() / 6, abs=1e-5)


def test_a_reward_gets_the_records_of_held_out_prompts(ended):
    """Prompts of training and held-out ones have the same numbers within their data."""
    evaluation = HELD_OUT + HELD_OUT[:2]  # what fills the second batch counts once
    for step in range(4):
        in_step = ended.seen[12 * step : 12 * (step + 1)]
        assert all(record in TRAIN and record["prompt"] == p for p, _, record in in_step[:4])
        assert [record for _, _, record in in_step[4:]] == evaluation
        assert [prompt for prompt, _, _ in in_step[4:]] == [one["prompt"] for one in evaluation]


class Numbered:
    """An environment whose only turn earns its record's number."""

    def reset(self, record):
        self.number = record["number"] if record["of"] == "test" else 1000

    def step(self, action):
        return "", float(self.number), True


@pytest.mark.slow
def test_an_environment_begins_with_held_out_records(start):
    trainer = trainer_of(start, reward=Numbered, constraint="regex:[1-3]")
    metrics = trainer.evaluate(trainer.held_out)
    assert metrics["eval_score"] == np.mean(range(6)) and metrics["eval_ended"] == 1


def test_an_evaluation_needs_no_program_of_its_own(ended):
    assert ended.traces == [1, 1]


def test_the_same_weights_measure_the_same_whatever_a_cost_is_worth(ended, monkeypatch):
    """Those of the second step are back; a price of costs is no part of what is compared."""
    limit = CostLimit(lambda token_ids, *masks: np.full(len(token_ids), 3.0), 1.0, price=0.5)
    limits = CostLimits({"three": limit})
    monkeypatch.setattr(ended.trainer.worker.responder, "cost_limits", limits)
    ended.trainer.evaluate(ended.trainer.held_out)
    assert ended.measured[-1] == ended.measured[1] | {"eval_cost_three": 3.0}


@pytest.mark.slow
def test_training_is_as_without_evaluation(start, tmp_path):
    watched, alone = tmp_path / "watched", tmp_path / "alone"
    trainer_of(start, watched, eval_every=1, patience=9).train()
    trainer_of(start, alone, held_out=None).train()
    kept = [
        {name: value for name, value in line.items() if not name.startswith(("eval_", "best_"))}
        for line in lines_of(watched)
    ]
    assert kept == lines_of(alone)


@pytest.mark.slow
def test_a_training_stops_and_stays_stopped(start, tmp_path, capsys):
    for is_first in (True, False):
        trainer, _ = with_scores(trainer_of(start, tmp_path, eval_every=1, patience=1))
        assert bool(trainer.train()) == is_first
        assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3]
    assert "rloo: highest held-out reward 2, at step 2" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    with_slow(
        [
            {},
            {"algorithm": "ppo", "lora.rank": 2},
            {"algorithm": "vtrace", "refresh_every": 3},
            {"algorithm": "ppo", "packed": True},
        ],
        [{}],
    ),
    ids=str,
)
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(start, resumed, options):
    """It is cut off at step 5 and goes on from 4."""
    given = {"steps": 8, "eval_every": 1, "keep_best": True, "patience": 4} | options

    def make(run_dir, callbacks):
        return trainer_of(start, run_dir, callbacks=callbacks, **given)

    again, whole = resumed(make, cut=5)
    assert again.best.state() == whole.best.state()
    assert all("eval_score" in line for line in lines_of(whole.run.path))


@pytest.mark.slow
def test_the_best_of_before_a_kill_is_saved_after_it(start, resumed):
    def make(run_dir, callbacks):
        trainer = trainer_of(start, run_dir, callbacks=callbacks, eval_every=1, keep_best=True)
        return with_scores(trainer, [4.0, 3.0, 2.0, 1.0])[0]

    again, whole = resumed(make, cut=3)
    assert again.best.state() == whole.best.state() == {"step": 1, "loss": -4.0, "waited": 3}


def test_a_source_has_held_out_prompts_where_they_are_asked_for(start, tmp_path):
    trainer = trainer_of(start, data=start[1], held_out=None)
    assert trainer.held_out is None and not trainer._evaluated(step=4)
    trainer = trainer_of(start, data=start[1], held_out=None, eval_every=2, eval_prompts=2)
    held_out = {record.prompt for record in trainer.held_out.records}
    assert len(held_out) == 2
    assert not held_out & {record.prompt for record in trainer.examples.records}
    named = tmp_path / "test.jsonl"
    named.write_text('{"prompt": "A"}\n{"prompt": "B"}\n')
    trainer = trainer_of(start, data=f"{start[1]}::{named}", held_out=None, eval_every=2)
    assert [record.prompt for record in trainer.held_out.records] == ["A", "B"]


@pytest.mark.slow
def test_a_bad_reward_skips_the_evaluation_by_choice(start, tmp_path):
    def reward(prompt, response):
        return float("nan") if prompt == "05?" else 1.0

    with pytest.raises(RewardError, match="row 1 "):
        trainer_of(start, reward=reward, eval_every=2).train()
    given = {"on_bad_reward": "skip", "eval_every": 2, "patience": 1}
    with pytest.warns(UserWarning, match="The evaluation after step 2 is skipped: .*row 1 "):
        trainer_of(start, tmp_path, reward, **given).train()
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_best": True}, "keep_best and patience need eval_every. Received: keep_best=True"),
        ({"eval_every": 2, "held_out": None}, "eval_every, keep_best .* need held-out data"),
        ({"eval_every": 2, "held_out": []}, "no usable PromptRecord"),
        ({"held_out": [{"question": "Q"}]}, "record 0: the field 'prompt' is missing"),
        ({"held_out": 3}, "Data is a source, or a sequence .* Received: int"),
        ({"held_out": ["x" * 40]}, "the prompt has 41 tokens, more than 4"),
        ({"eval_prompts": 0}, "--eval_prompts must be at least 1. Received: eval_prompts=0"),
        (
            {"eval_every": 1, "patience": 1, "cost_limits": (1.0,)},
            r"without the costs that are limited. Received: cost_limits=\(1.0,\)",
        ),
        (
            {"reward": TextReward(low_letters, str, TRAIN)},
            "the held-out ones last.* Received: 8 records, 14 prompts",
        ),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(start, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        trainer_of(start, tmp_path / "run", **options)
    assert not any(tmp_path.iterdir())


def test_the_run_records_that_there_are_held_out_prompts(start, tmp_path):
    config = trainer_of(start, tmp_path).run.config["rloo"]
    assert (config["data"], config["held_out"]) == ("(list in Python)", "(list in Python)")
    assert "held_out" not in trainer_of(start, tmp_path, held_out=None).run.config["rloo"]
