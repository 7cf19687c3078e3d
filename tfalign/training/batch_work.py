"""What an update on a batch does: real tokens, and operations by the formulas of ``step_costs``."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfalign.models import CausalLM, GPTConfig
from tfalign.training.step_costs import Work, forward_flops, on_policy_costs, update_flops
from tfalign.types import (
    LabelledResponses,
    LabelledSteps,
    LanguageModelBatch,
    PreferencePairs,
    RankedResponses,
    Rollout,
)

_MASKS = {"padding_mask", "chosen_mask", "rejected_mask", "first_mask", "second_mask"}
_MASKS |= {"query_mask", "document_mask", "source_mask", "target_mask"}


def tokens_of(batch: Any) -> int | None:
    """Real tokens of a batch of NumPy arrays, those that its masks are true at; None where it has no mask."""
    names = [name for name in getattr(batch, "_fields", ()) if name in _MASKS]
    return sum(int(np.count_nonzero(getattr(batch, name))) for name in names) if names else None


def operations_of(model: keras.Model, batch: Any, lora_rank: int = 0) -> float | None:
    """Operations of the matrix products of an update, padding included.

    Args:
        model: what is trained, a CausalLM or a reward model.
        batch: what its objective takes.
        lora_rank: of adapters on all Dense layers of the blocks; 0 where all weights are trained.

    Returns:
        float; None of models and batches that ``step_costs`` has no formula for, such as encoders.
    """
    config = _config(model)
    return config and _operations(config, batch, lora_rank, isinstance(model, CausalLM))


def operations_of_rollouts(
    actor_critic: keras.Model,
    scorer: keras.Model | None,
    rollout: Rollout,
    minibatch: int,
    updates: float,
    lora_rank: int = 0,
) -> float | None:
    """Operations of the matrix products of an on-policy step: responses, reward, reference and updates.

    As if every response were sampled in a batch of its own columns and learned from in unpacked rows.

    Args:
        actor_critic: Actor, SharedActorCritic or SeparateActorCritic.
        scorer: the reward's model, of an ensemble one; None for none.
        rollout: Rollout.
        minibatch: int, rollouts of an update.
        updates: number of updates.
        lora_rank: as ``operations_of``.

    Returns:
        float; None of policies that ``step_costs`` has no formula for.
    """
    policy = _config(actor_critic.policy)
    if policy is None:
        return None
    rows, columns = rollout.token_ids.shape
    response = rollout.response_mask.shape[1]
    epochs = updates * minibatch / rows
    work = Work(rows, columns - response, response, minibatch, epochs, lora_rank=lora_rank)
    critic = getattr(actor_critic, "critic", None)
    return on_policy_costs(policy, work, _config(scorer), _config(critic)).total_flops


def _config(model):
    """The GPTConfig of a model with a GPT's backbone; None of any other."""
    config = getattr(getattr(model, "backbone", None), "config", None)
    return config if isinstance(config, GPTConfig) else None


def _operations(config, batch, rank, reads):
    if isinstance(batch, LanguageModelBatch):
        rows, columns = batch.token_ids.shape
        return update_flops(config, rows, columns, logits=columns, lora_rank=rank)
    if isinstance(batch, PreferencePairs):
        rows, columns = batch.chosen_ids.shape
        return update_flops(config, 2 * rows, columns, lora_rank=rank)
    if isinstance(batch, LabelledSteps):
        return update_flops(config, *batch.token_ids.shape, lora_rank=rank)
    if not isinstance(batch, RankedResponses | LabelledResponses):
        return None
    if batch.packed is not None:
        rows, columns = batch.packed.token_ids.shape
        logits = len(batch.packed.places) / rows
        whole = update_flops(config, rows, columns, logits=logits, lora_rank=rank)
        return whole if isinstance(batch, RankedResponses) else whole * 2 / 3  # as below
    rows, answers, columns = batch.token_ids.shape
    if not reads:
        return update_flops(config, rows * answers, columns, lora_rank=rank)
    response = batch.response_mask.shape[-1]
    read = {"last": response, "logits": response}
    if isinstance(batch, RankedResponses):
        return update_flops(config, rows * answers, columns - 1, lora_rank=rank, **read)
    # of another's response only the reference point is wanted, which has no backward pass
    others = forward_flops(config, rows, columns - 1, **read)
    return update_flops(config, rows, columns - 1, lora_rank=rank, **read) + others
