"""A run that goes on from its newest checkpoint on whichever backend and mesh this is:
``python crossing.py run_dir last_step data:2,model:2``; without a mesh on one device."""

from __future__ import annotations

import sys

import keras
import numpy as np

from tfalign.models import CausalLM, GPTConfig
from tfalign.models.layouts import distribution, parse_mesh
from tfalign.objectives import LanguageModelling
from tfalign.training.checkpoint import Checkpointer
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay, adamw
from tfalign.training.run_state import RunState
from tfalign.types import LanguageModelBatch

CONFIG = GPTConfig(
    16, 16, 2, 4, max_positions=16, rotary_base=100.0, norm="rms", gated=True, use_bias=False
)


def batch_of(step):
    rng = np.random.default_rng(step)
    real = np.arange(12) < rng.integers(3, 13, (8, 1))
    token_ids = np.where(real, rng.integers(1, 16, real.shape), 0).astype("int32")
    return LanguageModelBatch(token_ids, real, real, real.astype("int32"))


def main(run_dir, last_step, mesh=""):
    if mesh:
        keras.distribution.set_distribution(distribution(parse_mesh(mesh)))
    model = CausalLM(CONFIG)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape).astype("float32"))
    schedule = WarmupDecay(3e-3, 20, 2)
    learner = Learner(model, LanguageModelling(), adamw(schedule, epsilon=1e-5, clip_norm=0.5))
    variables = {"model": model.variables, "optimizer": learner.optimizer.variables}
    state = RunState(Checkpointer(run_dir), variables, {})
    for step in range(state.restore(), int(last_step)):
        learner.update(batch_of(step))
    state.save(int(last_step))


if __name__ == "__main__":
    main(*sys.argv[1:])
