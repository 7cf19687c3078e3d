"""Batches that grow: each stream its share, continued where it was left, a program a shape."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfalign.data import BatchStream, Ramp, one_text
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.trainers import Pretrainer
from tfalign.trainers.pretraining import ramp_stages
from tfalign.training.learner import Learner
from tfalign.training.optimizers import adamw

TEXT = one_text(np.random.default_rng(0).integers(0, 7, 500))


def growing(*counts):
    shapes = ((2, 8), (4, 8), (4, 16))
    streams = [BatchStream(TEXT, rows, window_length=length, seed=1) for rows, length in shapes]
    return Ramp(list(zip(counts, streams)), streams[-1])


def test_each_stream_has_its_share_and_the_last_the_rest():
    ramp = growing(2, 1)
    assert [next(ramp).token_ids.shape for _ in range(5)] == [(2, 8)] * 2 + [(4, 8)] + [(4, 16)] * 2


@pytest.mark.parametrize("taken", range(5))
def test_a_restored_ramp_goes_on(taken):
    ramp, other = growing(2, 1), growing(2, 1)
    for _ in range(taken):
        next(ramp)
    state = json.loads(json.dumps(ramp.state()))
    next(other)
    other.restore(state)
    for _ in range(6):
        np.testing.assert_array_equal(next(other).token_ids, next(ramp).token_ids)


@pytest.mark.slow
def test_a_program_a_shape():
    model = CausalLM(GPTConfig(7, 8, 1, 1, max_positions=16, attention_window=4))
    learner, ramp = Learner(model, LanguageModelling(), adamw(1e-3)), growing(2, 3)
    for _ in range(7):
        learner.update(next(ramp))
    assert learner.traces == 3


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"at least one batch. Received: \[0, 1\]"):
        growing(0, 1)
    with pytest.raises(ValueError, match="has 3 streams. Received: 2 states"):
        growing(2, 1).restore(growing(2).state())
    assert ramp_stages(None) == []
    for stage in ("5:8", "0:8x8", "5:8x8x8", "five:8x8"):
        with pytest.raises(ValueError, match=f"UPDATES:ROWSxLENGTH. Received: '{stage}'"):
            Pretrainer(["text"], ramp=stage)
    with pytest.raises(ValueError, match="Received: length=256, max_positions=128"):
        Pretrainer(["text"], ramp="5:8x256")
