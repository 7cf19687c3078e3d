"""What the trainers' tests share: an encoder, runs that are cut off, and their comparison."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from tfalign.models import BERT, BERTConfig
from tfalign.text import train_word_piece
from tfalign.trainers.saving import save_model

WORDS = [
    "the",
    "film",
    "was",
    "good",
    "bad",
    "dull",
    "fine",
    "in",
    "London",
    "Paris",
    "he",
    "lives",
]


class CutOff(Exception):
    """What ends a run as a kill does: nothing is written after it."""


class CutAfter(keras.callbacks.Callback):
    """Ends a run after a step."""

    def __init__(self, step):
        super().__init__()
        self._step = step

    def on_train_batch_end(self, batch, logs=None):
        if batch == self._step:
            raise CutOff


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """Directory of a tiny BERT that knows ``WORDS``."""
    folder = tmp_path_factory.mktemp("encoder") / "bert"
    keras.utils.set_random_seed(0)
    tokenizer = train_word_piece([" ".join(WORDS)], 80)
    config = BERTConfig(tokenizer.vocab_size, 16, 1, 2, max_positions=16, initializer_range=0.2)
    save_model(folder, BERT(config), tokenizer)
    return str(folder)


def lines_of(run, name="metrics.jsonl"):
    """The lines of a run's file without their times."""
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def assert_same_run(run, other, stage):
    """Both runs have the same model and metrics, bit for bit."""
    ours, theirs = (load_file(one / "models" / stage / "model.safetensors") for one in (run, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], name)
    assert lines_of(run) == lines_of(other)


@pytest.fixture
def resumed(tmp_path):
    """``resumed(make, cut)``: two runs of ``make(run_dir, callbacks)``, a trainer: one that is cut off after the
    step ``cut`` and started again, and one that is not; both are over, and are the same bit for bit. Their
    trainers."""

    def run(make, cut):
        cut_run, whole_run = tmp_path / "cut", tmp_path / "whole"
        with pytest.raises(CutOff):
            make(cut_run, [CutAfter(cut)]).train()
        again, whole = make(cut_run, []), make(whole_run, [])
        for trainer in (again, whole):
            trainer.train()
        assert_same_run(cut_run, whole_run, whole.stage)
        return again, whole

    return run
