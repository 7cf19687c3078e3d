"""Any form of a reward as a reward function of rollouts."""

from __future__ import annotations

import copy
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tfalign.data import separator_id
from tfalign.files import is_whole
from tfalign.models import GPT, from_pretrained
from tfalign.pretrained import Pretrained
from tfalign.rewards import (
    Combination,
    Ensemble,
    Guarded,
    LearnedReward,
    PackedReward,
    ProcessReward,
    ProcessRewardModel,
    RewardModel,
    TextReward,
    mean_less_deviation,
    mean_less_variance,
    worst_case,
)
from tfalign.rewards.callables import find_function
from tfalign.rewards.environment import EnvironmentReward, is_environment
from tfalign.trainers.on_policy_options import RewardOptions

_BOUNDS = {
    "deviation": mean_less_deviation,
    "variance": mean_less_variance,
    "worst": worst_case,
}


class Context(NamedTuple):
    """What a reward may need to be made."""

    tokenizer: Any  # the policy's
    records: Sequence[Any] | None  # of the prompts
    options: RewardOptions
    dtype: str | None  # of models that are loaded
    stop_tokens: Sequence[int] | None = None  # that end a turn; None for the tokenizer's
    packed: bool = False  # whether models read several texts in a row, where they can


class _Weighted(Combination):
    """A weighted sum of rewards of rollouts, each of which may take the prompts' rows."""

    takes_rows = True


def resolve_reward(reward: Any, context: Context) -> Callable:
    """A reward function of rollouts, see ``tfalign.rewards``.

    Args:
        reward: a directory of a reward model (several, comma-separated, are an ensemble); "MODULE:NAME" or
            "FILE.py:NAME"; a loaded reward model; a function of texts, see ``TextReward``; a reward of
            rollouts, whose first parameter is ``token_ids``; a class with ``reset`` and ``step``, see
            ``rewards.environment``; a list of rewards, or of (reward, weight); a dict of name to reward, or to
            (weight, reward).
        context: Context.

    Raises:
        ValueError: if it is none of these, a function cannot be called so, or a TextReward has too few records.
    """
    if isinstance(reward, str | os.PathLike):
        return _of_address(os.fspath(reward), context)
    if isinstance(reward, Pretrained):
        reward = reward.model
    if isinstance(reward, keras.Model):
        return _of_model(reward, context)
    if isinstance(reward, Mapping):
        return _sum({name: _weighted(part)[::-1] for name, part in reward.items()}, context)
    if isinstance(reward, list | tuple):
        parts = [part if isinstance(part, tuple) else (part, 1.0) for part in reward]
        return _sum({f"reward {i}": part for i, part in enumerate(parts)}, context)
    if is_environment(reward):
        factory = reward if callable(reward) else functools.partial(copy.deepcopy, reward)
        return EnvironmentReward(factory, context.records, context.tokenizer, context.stop_tokens)
    if not callable(reward):
        raise ValueError(
            "A reward is a function, a directory, a loaded reward model, or a list of these. "
            f"Received: {type(reward).__name__}"
        )
    return _checked(reward, context) if _is_of_rollouts(reward) else _of_function(reward, context)


def first_model(reward: Callable) -> keras.Model | None:
    """The model of a learned reward, the first of an ensemble; None where there is none."""
    if isinstance(reward, Ensemble):
        return first_model(reward.rewards[0])
    return getattr(reward, "model", None)


def _of_address(address, context):
    places = address.split(",")
    if all(is_whole(place) for place in places):
        models = [from_pretrained(place, dtype=context.dtype) for place in places]
        rewards = [_of_model(model, context) for model in models]
        if len(rewards) == 1:
            return rewards[0]
        return Ensemble(rewards, _BOUNDS[context.options.ensemble])
    if ":" not in address:
        raise ValueError(
            "A reward is the directory of a reward model, MODULE:NAME or FILE.py:NAME. "
            f"Received: {address!r}"
        )
    found = find_function(address)
    return resolve_reward(found, context) if is_environment(found) else _of_function(found, context)


def _of_model(model, context):
    if isinstance(model, ProcessRewardModel):
        return ProcessReward(model, separator_id(context.tokenizer))
    if isinstance(model, RewardModel):
        packs = context.packed and isinstance(
            model.backbone, GPT
        )  # an encoder's texts keep their rows
        return (PackedReward if packs else LearnedReward)(model)
    raise ValueError(f"A reward must be a reward model. Received: a {type(model).__name__}")


def _of_function(function, context):
    timeout = context.options.reward_timeout
    if timeout is not None:
        function = Guarded(function, timeout=timeout)
    return TextReward(function, context.tokenizer.decode, context.records)


def _checked(reward, context):
    """A reward of rollouts, whose own records, if it has any, must be those of all prompts."""
    own = reward.records if isinstance(reward, TextReward) else None
    if own is not None and len(own) < len(context.records or ()):
        raise ValueError(
            "A TextReward needs the records of all prompts, the held-out ones last; or give its function. "
            f"Received: {len(own)} records, {len(context.records)} prompts"
        )
    return reward


def _weighted(part):
    """(weight, reward) of what a dict of rewards holds."""
    return part if isinstance(part, tuple) else (1.0, part)


def _sum(parts, context):
    resolved = {}
    for name, (part, weight) in parts.items():
        reward = resolve_reward(part, context)
        if hasattr(reward, "user"):
            raise ValueError(
                f"An environment is the whole reward, not a part of one. Received: {name}"
            )
        resolved[name] = float(weight), reward if _takes_rows(reward) else _without_rows(reward)
    return _Weighted(resolved)


def _takes_rows(reward):
    return getattr(reward, "takes_rows", False)


def _without_rows(reward):
    def call(token_ids, padding_mask, response_mask, rows=None):
        return reward(token_ids, padding_mask, response_mask)

    return call


def _is_of_rollouts(reward):
    try:
        parameters = list(inspect.signature(reward).parameters)
    except (TypeError, ValueError):
        return False
    return parameters[:1] == ["token_ids"]
