"""Evaluation while training: the best weights are saved, a training stops in time, and both survive a kill."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

import tfalign
from tests.trainers.runs import lines_of
from tfalign.training.best import Best

FEW = {"length": 8, "batch_size": 8, "steps": 6, "warmup_steps": 1, "log_every": 1, "save_every": 2}
DATA = [{"prompt": f"{i:02d}", "completion": "xy"} for i in range(24)]


class Weights(keras.callbacks.Callback):
    """The embedding after each step."""

    def __init__(self):
        super().__init__()
        self.after = {}

    def on_train_batch_end(self, batch, logs=None):
        self.after[batch] = np.array(self.model.backbone.token_embedding.weights[0])


def trainer_with(policy, losses, run_dir=None, callbacks=(), **options):
    """A fine-tuning that is told what its held-out loss is after each step."""
    trainer = tfalign.FineTuner(
        policy,
        DATA,
        held_out=DATA[:8],
        run_dir=run_dir,
        callbacks=callbacks,
        **FEW | {"eval_every": 1} | options,
    )
    trainer.evaluate = lambda batches: {
        "eval_loss": losses[int(trainer.learner.optimizer.iterations) - 1]
    }
    return trainer


def saved_embedding(run):
    return load_file(run / "models" / "sft" / "model.safetensors")["model.embed_tokens.weight"]


def test_the_lowest_loss_is_kept_and_no_number_is_none():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    best = Best(model, keeps_weights=True)
    kernel = model.layers[0].kernel
    best.put_back()  # nothing is best yet
    for step, loss in enumerate([float("nan"), 2.0, 2.0, 1.0, float("inf")], start=1):
        kernel.assign([[float(step)]])
        best.see(step, loss)
    assert best.state() == {"step": 4, "loss": 1.0, "waited": 1}
    best.put_back()
    assert float(kernel[0, 0]) == 4.0
    assert not Best(model, keeps_weights=False).variables


def test_the_best_weights_are_saved_not_the_last(start, tmp_path, capsys):
    weights = Weights()
    losses = [3.0, 1.0, 2.0, 2.0, 1.0, 4.0]  # the first of equals
    trainer = trainer_with(start[0], losses, tmp_path, [weights], keep_best=True)
    trainer.train()
    assert trainer.best.step == 2
    assert [line["best_step"] for line in lines_of(tmp_path)] == [1, 2, 2, 2, 2, 2]
    assert "lowest held-out loss 1, at step 2" in capsys.readouterr().out
    np.testing.assert_array_equal(saved_embedding(tmp_path), weights.after[2])
    assert (weights.after[2] != weights.after[6]).any()


@pytest.mark.slow
def test_the_best_of_before_a_kill_is_what_is_saved_after_it(start, resumed):
    """The lowest loss is at step 1; the run is cut off at 5 and goes on from 4."""
    losses = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]

    def make(run_dir, callbacks):
        return trainer_with(start[0], losses, run_dir, callbacks, keep_best=True)

    again, whole = resumed(make, cut=5)
    assert again.best.state() == whole.best.state() == {"step": 1, "loss": 1.0, "waited": 5}


@pytest.mark.slow
def test_a_training_stops_and_stays_stopped(start, tmp_path):
    weights, losses = Weights(), [3.0, 1.0, 2.0, 2.0, 0.5, 0.5]
    trainer = trainer_with(start[0], losses, tmp_path, [weights], patience=2)
    trainer.train()
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]
    np.testing.assert_array_equal(saved_embedding(tmp_path), weights.after[4])  # not the best
    again = trainer_with(start[0], losses, tmp_path, patience=2)
    assert again.train() == {}
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]
    np.testing.assert_array_equal(saved_embedding(tmp_path), weights.after[4])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_that_was_cut_off_stops_at_the_same_step(start, resumed):
    losses = [3.0, 1.0, 2.0, 2.0, 2.0, 0.5]

    def make(run_dir, callbacks):
        choices = {"patience": 3, "keep_best": True}
        return trainer_with(start[0], losses, run_dir, callbacks, **choices)

    again, whole = resumed(make, cut=3)
    assert again.best.waited == whole.best.waited == 3
    assert lines_of(whole.run.path)[-1]["step"] == 5


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_trainer_that_begins_late_keeps_its_best_too(start, resumed):
    """``PreferenceTrainer`` makes its learner when the reference's log-probs are there."""
    pairs = [{"prompt": f"{i:02d}", "chosen": "xx", "rejected": "y"} for i in range(24)]
    few = {name: value for name, value in FEW.items() if name != "length"}

    def make(run_dir, callbacks):
        return tfalign.PreferenceTrainer(
            start[0],
            pairs,
            held_out=pairs[:8],
            run_dir=run_dir,
            callbacks=callbacks,
            max_prompt_tokens=4,
            max_new_tokens=4,
            eval_every=2,
            keep_best=True,
            **few,
        )

    again, whole = resumed(make, cut=3)
    assert again.best.state() == whole.best.state()


@pytest.mark.slow
def test_nothing_is_kept_where_nothing_asks_for_it(start, tmp_path):
    trainer = tfalign.FineTuner(start[0], DATA, held_out=DATA[:8], run_dir=tmp_path, **FEW)
    trainer.train()
    assert trainer.best is None
    state = json.loads((tmp_path / "checkpoints/sft/step-00000006/state.json").read_text())
    assert set(state["state"]) == {"batches"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_best": True}, "keep_best and patience need eval_every. Received: keep_best=True"),
        ({"patience": 0, "eval_every": 1}, "--patience must be at least 1. Received: patience=0"),
        ({"patience": 1, "eval_every": 1, "held_out": []}, "no usable CompletionRecord"),
        ({"patience": 1, "eval_every": 1}, "need held-out data, a batch of it at least"),
        ({"eval_every": 1}, "eval_every, keep_best and patience need held-out data"),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(start, tmp_path, options, message):
    data = [{"prompt": "a", "completion": "b"}] * 8
    with pytest.raises(ValueError, match=message):
        tfalign.FineTuner(start[0], data, run_dir=tmp_path / "run", **FEW | options)
    assert not any(tmp_path.iterdir())
