"""One step of an algorithm as a training takes it: models with random weights, a worker, a learner, a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from tfalign.layers import ResidualBlock
from tfalign.models import Actor, CausalLM, Critic, SeparateActorCritic, SharedActorCritic
from tfalign.models.lora import LoRA, WithoutAdapters, add_adapters
from tfalign.objectives import DPO, LanguageModelling, RewardModelling
from tfalign.rewards import LearnedReward, RewardModel
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import adamw
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.training.step_costs import ON_POLICY, Models, Work
from tfalign.types import LanguageModelBatch, PreferencePairs, Prompts, RankedResponses

PHASES = {
    "run": "generation",
    "score": "reward",
    "_compare": "reference",
    "_credit": "credit",
    "_minibatches": "minibatches",
    "_step": "update",
}
"""What a program is called, by the name of its Python function."""


class Step(NamedTuple):
    """What is needed for one step, and the step itself."""

    parameters: int  # of the language model
    variables: list[keras.Variable]  # of all models and the optimizer
    updates: int  # optimizer steps
    run: Callable[[], None]


def build(algorithm: str, models: Models, work: Work) -> Step:
    """A step that has not been taken yet; nothing is compiled. As in a training, ``remat`` is set for the process.

    Args:
        algorithm, models, work: as ``step_costs.costs_of``.

    Returns:
        Step.
    """
    ResidualBlock.remat = work.remat
    model = CausalLM(models.policy, dtype=work.precision)
    parameters = model.count_params()
    if algorithm in ON_POLICY:
        return _iteration(algorithm, model, parameters, models, work)
    return _update(algorithm, model, parameters, work)


def _update(algorithm, model, parameters, work):
    """One update."""
    _adapt(model, work)
    rows, columns = work.rows, work.columns
    ids = np.ones((rows, columns), "int32")
    seen = ids == 1
    if algorithm == "sft":
        objective, batch = LanguageModelling(work.chunk), LanguageModelBatch(ids, seen, seen, ids)
    elif algorithm == "reward":
        model = RewardModel(model.backbone)
        margin = np.zeros(rows, "float32")
        objective, batch = RewardModelling(), PreferencePairs(ids, seen, ids, seen, margin)
    else:
        both = np.stack([ids, ids], 1)
        said, reference = both[..., -work.response :] == 1, np.zeros((rows, 2), "float32")
        objective = DPO(chunk=work.chunk)
        batch = RankedResponses(both, both == 1, said, reference)
    learner = Learner(model, objective, adamw(1e-5), work.accumulate)
    variables = model.variables + learner.optimizer.variables
    return Step(parameters, _each_once(variables), 1, lambda: learner.update(batch))


def _iteration(algorithm, model, parameters, models, work):
    """One iteration of rollouts and updates on them."""
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
    objective = dataclasses.replace(chosen.loss, chunk=work.chunk)
    learner = Learner(actor_critic, objective, adamw(1e-5), work.accumulate)
    ids = np.ones((work.rows // chosen.group_size, work.prompt), "int32")
    given = {"seed": 0, "step": 1, "epochs": work.epochs, "minibatch_size": work.minibatch}
    variables = variables + actor_critic.variables + learner.optimizer.variables
    return Step(
        parameters,
        _each_once(variables),
        work.epochs * work.rows // work.minibatch,
        lambda: improve(worker, learner, Prompts(ids, ids == 1), FixedKL(0.0), **given),
    )


def _actor_critic(algorithm, model, models, work):
    if not algorithm.needs_critic:
        return Actor(model)
    if models.critic is None:
        return SharedActorCritic(model)
    return SeparateActorCritic(model, Critic(models.critic, dtype=work.precision))


def _adapt(model, work):
    if work.lora_rank:
        add_adapters(model, LoRA(work.lora_rank, targets=("block_",)))


def _each_once(variables):
    return list({id(variable): variable for variable in variables}.values())


def _rule(token_ids, padding_mask, response_mask):
    return np.mean(response_mask, axis=1, dtype="float32")
