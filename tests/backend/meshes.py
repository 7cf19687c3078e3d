"""Twenty updates of each kind on a mesh of devices: ``python meshes.py results.npz data:2,model:4``.

Without a mesh on one device. Weights and batches come from NumPy.
"""

from __future__ import annotations

import sys

import keras
import numpy as np

from tfalign.models import CausalLM, GPTConfig, SharedActorCritic
from tfalign.models.layouts import distribution, parse_mesh
from tfalign.objectives import DPO, PPO, LanguageModelling
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import WarmupDecay, adamw
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import LanguageModelBatch, Prompts, RankedResponses

CONFIG = GPTConfig(
    16, 16, 2, 4, max_positions=16, rotary_base=100.0, norm="rms", gated=True, use_bias=False
)
UPDATES, ROWS, COLUMNS = 20, 8, 12


def optimizer():
    return adamw(WarmupDecay(3e-3, UPDATES, 2), weight_decay=0.1, clip_norm=0.5, epsilon=1e-5)


def set_weights(model, seed):
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape).astype("float32"))


def ragged(rng, *rows):
    """(token ids, mask), of lengths between 3 and COLUMNS."""
    real = np.arange(COLUMNS) < rng.integers(3, COLUMNS + 1, rows)[..., None]
    return np.where(real, rng.integers(1, 16, real.shape), 0).astype("int32"), real


def supervised(results, rng):
    model = CausalLM(CONFIG)
    set_weights(model, 0)
    learner = Learner(model, LanguageModelling(), optimizer())
    results["cut"] = float(_share_on_a_device(model))
    for step in range(UPDATES):
        token_ids, real = ragged(rng, ROWS)
        batch = LanguageModelBatch(token_ids, real, real, real.astype("int32"))
        record(results, f"supervised/{step}", learner.update(batch))
    record_weights(results, "supervised", model)


def preferences(results, rng):
    model = CausalLM(CONFIG)
    set_weights(model, 0)
    learner = Learner(model, DPO(), optimizer())
    for step in range(UPDATES):
        token_ids, real = ragged(rng, ROWS, 2)
        response = real[..., 2:]  # after two tokens of the prompt
        ref = rng.normal(-20, 1, (ROWS, 2)).astype("float32")
        record(
            results,
            f"preferences/{step}",
            learner.update(RankedResponses(token_ids, real, response, ref)),
        )
    record_weights(results, "preferences", model)


def poisoned(results):
    """Whether the bits of all variables differ after updates of which one was spoiled in a row, and after
    the same ones without it; how many were skipped; and the share of a device."""
    model = CausalLM(CONFIG.replace(dropout=0.1))
    learner = Learner(model, DPO(), optimizer(), accumulate=2)
    variables = [*model.variables, *learner.optimizer.variables][:-1]  # but the counts
    start, ends = [np.asarray(v.value) for v in variables], []
    for spoil in (False, True):
        for variable, value in zip(variables, start):
            variable.assign(value)
        for step in range(UPDATES // 2):
            rng = np.random.default_rng(step)
            token_ids, real = ragged(rng, 2 * ROWS, 2)
            ref = rng.normal(-20, 1, (2 * ROWS, 2)).astype("float32")
            if step == 4:
                ref[-1] = np.nan
            if step != 4 or spoil:
                logs = learner.update(RankedResponses(token_ids, real, real[..., 2:], ref))
        ends.append([np.asarray(v.value).tobytes() for v in variables])
    results["poisoned/differ"] = ends[0] != ends[1]
    results["poisoned/skipped"] = float(logs["skipped_updates"])
    results["poisoned/cut"] = float(_share_on_a_device(model))


def alignment(results, rng):
    policy, reference = CausalLM(CONFIG), CausalLM(CONFIG)
    model = SharedActorCritic(policy)
    set_weights(model, 0)
    set_weights(reference, 1)
    worker = RolloutWorker(model, reference, share_of_fives, RolloutConfig(6, stop_tokens=(3,)))
    learner = Learner(model, PPO(), optimizer())
    token_ids, mask = ragged(rng, 2 * ROWS)
    prompts = Prompts(token_ids[:, :6], mask[:, :6])
    for step in range(UPDATES // 4):  # of two epochs of two minibatches
        rollout, logs = improve(
            worker, learner, prompts, FixedKL(0.1), seed=1, step=step, epochs=2, minibatch_size=ROWS
        )
        record(results, f"alignment/{step}", logs)
        results[f"alignment/{step}/tokens"] = np.asarray(rollout.token_ids)
    record_weights(results, "alignment", model)


def share_of_fives(token_ids, padding_mask, response_mask):
    response = np.asarray(token_ids)[:, -response_mask.shape[1] :]
    return (response == 5).mean(axis=1).astype("float32")


def record(results, name, scalars):
    for key, value in scalars.items():
        results[f"{name}/{key}"] = float(value)


def record_weights(results, name, model):
    for index, variable in enumerate(model.trainable_variables):
        results[f"{name}/weights/{index}"] = keras.ops.convert_to_numpy(variable.value)


def _share_on_a_device(model):
    """Bytes of the weights one device holds, of all."""
    held = sum(v.value.addressable_shards[0].data.nbytes for v in model.variables)
    return held / sum(v.value.nbytes for v in model.variables)


def main(path, mesh=""):
    if mesh:
        keras.distribution.set_distribution(distribution(parse_mesh(mesh)))
    results = {}
    supervised(results, np.random.default_rng(0))
    preferences(results, np.random.default_rng(1))
    alignment(results, np.random.default_rng(2))
    poisoned(results)
    results["tensorflow_imported"] = "tensorflow" in sys.modules
    np.savez(path, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
