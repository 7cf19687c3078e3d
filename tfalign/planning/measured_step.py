"""One step of an algorithm with random weights, and what XLA compiled for it.

It must run before anything else compiles in the process, since XLA is told at its start to write programs
down.
"""

from __future__ import annotations

import contextlib
import math
import resource
import tempfile
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import keras
import numpy as np

from tfalign.models import Actor, CausalLM, Critic, SeparateActorCritic, SharedActorCritic
from tfalign.models.layouts import distribution
from tfalign.models.lora import LoRA, WithoutAdapters, add_adapters
from tfalign.objectives import DPO, LanguageModelling, RewardModelling
from tfalign.planning import compiled
from tfalign.planning.costs import Models, Work
from tfalign.planning.options import ON_POLICY
from tfalign.rewards import LearnedReward, RewardModel
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import adamw
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import LanguageModelBatch, PreferencePairs, Prompts, RankedResponses

_PHASES = {"run": "generation", "score": "reward", "_compare": "reference", "_step": "update"}


class Measured(NamedTuple):
    """What a step was seen to take; on a mesh of one device."""

    flops: dict[str, float]  # as ``Costs.flops``
    parameters: int  # of the language model, whole
    resident: int  # bytes of all variables
    passing: dict[str, int]  # bytes each program takes besides
    sent: dict[str, float]  # bytes, as ``Scaled.sent``
    hindrances: dict[str, list[str]]  # of every program, see ``compiled.Program``
    growth: int  # bytes by which the process grew at most, the compiler's own included


def measure(
    algorithm: str, models: Models, work: Work, mesh: Mapping[str, int] | None = None
) -> Measured:
    """Runs a step with random weights and reads what XLA compiled for it.

    Args:
        algorithm, models, work: as ``costs.costs_of``.
        mesh: dict of ``layouts.parse_mesh``, on the JAX backend; None for one device.

    Returns:
        Measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        compiled.watch(folder)
        before = _most_bytes()
        with distribution(mesh).scope() if mesh else contextlib.nullcontext():
            parameters, variables, times = _step(algorithm, models, work)
        programs = compiled.programs(folder, trips=work.response)
    flops, sent, passing = {}, {}, {}
    for program in programs:
        phase = _PHASES.get(program.name)
        if phase is not None:
            rounds = times.get(phase, 1)
            flops[phase] = flops.get(phase, 0.0) + rounds * program.flops
            sent[phase] = sent.get(phase, 0.0) + rounds * program.sent
            passing[phase] = max(passing.get(phase, 0), program.temporary)
    resident = sum(bytes_of({id(v): v for v in variables}.values()))
    hindrances = {program.name: program.hindrances for program in programs}
    growth = _most_bytes() - before
    return Measured(flops, parameters, resident, passing, sent, hindrances, growth)


def bytes_of(variables: Iterable[keras.Variable]) -> list[int]:
    """Of each variable, on the first device."""
    if keras.backend.backend() == "jax":
        return [v.value.addressable_shards[0].data.nbytes for v in variables]
    return [math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables]


def _step(algorithm, models, work):
    """(weights of the model, variables there are, how often a program ran where not once)."""
    model = CausalLM(models.policy, dtype=work.precision)
    parameters = model.count_params()
    if algorithm in ON_POLICY:
        return parameters, *_iteration(algorithm, model, models, work)
    return parameters, _update(algorithm, model, work), {}


def _most_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _update(algorithm, model, work):
    """One update; returns the variables there are."""
    _adapt(model, work)
    rows, columns = work.rows, work.columns
    ids = np.ones((rows, columns), "int32")
    seen = ids == 1
    if algorithm == "sft":
        objective, batch = LanguageModelling(), LanguageModelBatch(ids, seen, seen, ids)
    elif algorithm == "reward":
        model = RewardModel(model.backbone)
        margin = np.zeros(rows, "float32")
        objective, batch = RewardModelling(), PreferencePairs(ids, seen, ids, seen, margin)
    else:
        both = np.stack([ids, ids], 1)
        said, reference = both[..., -work.response :] == 1, np.zeros((rows, 2), "float32")
        objective, batch = DPO(), RankedResponses(both, both == 1, said, reference)
    learner = Learner(model, objective, adamw(1e-5), work.accumulate)
    learner.update(batch)
    return model.variables + learner.optimizer.variables


def _iteration(algorithm, model, models, work):
    """One iteration; returns the variables there are and how often a program ran."""
    chosen = ALGORITHMS[algorithm]
    reference = CausalLM(model.config, dtype=work.precision)
    if work.lora_rank:
        _adapt(model, work)
        reference = WithoutAdapters(model)
    variables = reference.variables
    reward = _rule
    if models.reward is not None:
        scorer = RewardModel(models.reward, dtype=work.precision)
        reward, variables = LearnedReward(scorer), variables + scorer.variables
    actor_critic = _actor_critic(chosen, model, models, work)
    rollouts = RolloutConfig(work.response, group_size=chosen.group_size)
    worker = RolloutWorker(actor_critic, reference, reward, rollouts, chosen.credit)
    learner = Learner(actor_critic, chosen.loss, adamw(1e-5), work.accumulate)
    ids = np.ones((work.rows // chosen.group_size, work.prompt), "int32")
    given = {"seed": 0, "step": 1, "epochs": work.epochs, "minibatch_size": work.minibatch}
    improve(worker, learner, Prompts(ids, ids == 1), FixedKL(0.0), **given)
    variables = variables + actor_critic.variables + learner.optimizer.variables
    return variables, {"update": work.epochs * work.rows // work.minibatch}


def _actor_critic(algorithm, model, models, work):
    if not algorithm.needs_critic:
        return Actor(model)
    if models.critic is None:
        return SharedActorCritic(model)
    return SeparateActorCritic(model, Critic(models.critic, dtype=work.precision))


def _adapt(model, work):
    if work.lora_rank:
        add_adapters(model, LoRA(work.lora_rank, targets=("block_",)))


def _rule(token_ids, padding_mask, response_mask):
    return np.mean(response_mask, axis=1, dtype="float32")
