"""Runs that are cut off as by a kill, and what two of them have in common."""

from __future__ import annotations

import json

import keras
import numpy as np
from safetensors.numpy import load_file

from tfalign.training.metrics_log import MEASURED


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


def lines_of(run, name="metrics.jsonl"):
    """The lines of a run's file without their times."""
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]


def assert_same_run(run, other, stage):
    """Both runs have the same model and metrics, bit for bit."""
    ours, theirs = (load_file(one / "models" / stage / "model.safetensors") for one in (run, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], name)
    assert lines_of(run) == lines_of(other)
