"""The parts of on-policy alignment that its options ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfalign.decoding.constraints import Constraint
from tfalign.decoding.patterns import named_constraint
from tfalign.functional import aggregation, kl
from tfalign.models import (
    Actor,
    SeparateActorCritic,
    SharedActorCritic,
    separate_critic,
)
from tfalign.objectives import PolicyObjective
from tfalign.trainers.on_policy_options import DistributedOptions, OnPolicyOptions, RewardOptions
from tfalign.training.algorithms import Algorithm, algorithm
from tfalign.training.kl_control import AdaptiveKL, FixedKL
from tfalign.training.lagrange import CostLimit, CostLimits
from tfalign.training.responses import RolloutConfig

_OF_CREDIT = (
    "gamma",
    "gae_lambda",
    "value_clip",
    "value_coefficient",
    "whiten_rewards",
    "whiten_advantages",
)


def chosen_algorithm(name: str | Algorithm, options: OnPolicyOptions) -> Algorithm:
    """An algorithm with the numbers that the options give instead of its paper's.

    Raises:
        ValueError: if an option is given that the algorithm has no use for, or options contradict.
    """
    given = dataclasses.asdict(options.algorithm_options)
    given["epochs"] = given.pop("update_epochs")
    minibatch_size = given.pop("minibatch_size")
    given |= {field: getattr(options.credit, field) for field in _OF_CREDIT}
    penalty = options.kl_penalty
    given |= {"kl_coefficient": penalty.kl_coefficient, "kl_in": penalty.kl_in}
    if penalty.kl_estimator is not None:
        given["kl_estimator"] = getattr(kl, penalty.kl_estimator)
    if given["aggregate"] is not None:
        given["aggregate"] = getattr(aggregation, given["aggregate"])
    numbers = {field: value for field, value in given.items() if value is not None}
    chosen = algorithm(name, temperature=options.responses.temperature, **numbers)
    _check(chosen, options)
    if minibatch_size is None:
        return chosen
    return dataclasses.replace(chosen, minibatches=options.update.batch_size // minibatch_size)


def _check(chosen, options):
    batch_size, minibatch_size = options.update.batch_size, options.algorithm_options.minibatch_size
    for name, size in (("minibatch_size", minibatch_size), ("group_size", chosen.group_size)):
        if size and batch_size % size:
            raise ValueError(
                f"{name} must divide batch_size. Received: {name}={size}, batch_size={batch_size}"
            )
    responses, penalty = options.responses, options.kl_penalty
    if responses.packed and not isinstance(chosen.objective, PolicyObjective):
        raise ValueError(
            "packed is of updates on response tokens, and this algorithm compares whole responses. Received: "
            f"packed=True, {type(chosen.objective).__name__}"
        )
    if options.credit.critic == "separate" and not chosen.needs_critic:
        raise ValueError("critic=separate needs an algorithm with a critic")
    if chosen.kl_in == "loss" and penalty.kl == "adaptive":
        raise ValueError("kl=adaptive changes a KL in the reward. Received: kl_in=loss")
    is_behind = responses.refresh_every > 1 or isinstance(options, DistributedOptions)
    if not responses.corrected and not is_behind:
        raise ValueError(
            "corrected is of an older policy's responses, refresh_every of more than 1. "
            "Received: refresh_every=1"
        )
    evaluation, limits = options.evaluation, options.reward_options.cost_limits
    if limits and (evaluation.keep_best or evaluation.patience is not None):
        raise ValueError(
            "keep_best and patience compare rewards alone, without the costs that are limited. "
            f"Received: cost_limits={limits}"
        )


def minibatch_size(chosen: Algorithm, options: OnPolicyOptions) -> int:
    """Responses of an optimizer step."""
    return max(options.update.batch_size // chosen.minibatches, 1)


def stop_tokens(options: OnPolicyOptions, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a response, or a turn."""
    return options.responses.stop_tokens or tokenizer.stop_ids


def rollout_config(
    chosen: Algorithm,
    options: OnPolicyOptions,
    tokenizer: Any,
    vocab_size: int | None = None,
    user: Callable | None = None,
    constraint: Constraint | None = None,
) -> RolloutConfig:
    """How responses are sampled, who speaks in between, and which of them count.

    Raises:
        ValueError: if the constraint is refused, allows no response of ``max_new_tokens``, or is there twice, once
            in the options.
    """
    responses = options.responses
    limits = vocab_size, responses.max_new_tokens
    if responses.constraint:
        if constraint is not None:
            raise ValueError(
                "One constraint is given, in the options or as an object. Received: "
                f"constraint={responses.constraint!r} and a {type(constraint).__name__}"
            )
        constraint = named_constraint(responses.constraint, tokenizer, *limits)
    return RolloutConfig(
        responses.max_new_tokens,
        temperature=responses.temperature,
        stop_tokens=stop_tokens(options, tokenizer),
        pad_id=tokenizer.pad_id,
        group_size=chosen.group_size,
        missing_stop_score=(
            responses.missing_stop_score if responses.missing_stop == "score" else None
        ),
        missing_stop_penalty=(
            responses.missing_stop_penalty if responses.missing_stop == "penalty" else 0.0
        ),
        overlong_buffer=round(chosen.overlong_share * responses.max_new_tokens),
        mask_overlong=responses.mask_overlong,
        redraws=chosen.redraws,
        drop_zero_spread=chosen.drop_zero_spread,
        constraint=constraint,
        user=user,
        slots=responses.slots,
        packed=responses.packed,
    )


def under(chosen: Algorithm, constraint: Constraint | None) -> Algorithm:
    """The algorithm whose objective reads log-probs under a constraint.

    Raises:
        ValueError: if it compares whole responses, and takes none.
    """
    return chosen if constraint is None else algorithm(chosen, constraint=constraint)


def actor_critic(
    chosen: Algorithm,
    options: OnPolicyOptions,
    policy: keras.Model,
    reward_model: keras.Model | None,
) -> Actor | SharedActorCritic | SeparateActorCritic:
    """The policy with the critic that an algorithm needs."""
    if not chosen.needs_critic:
        return Actor(policy)
    if options.credit.critic == "shared":
        return SharedActorCritic(policy)
    initial = reward_model if options.credit.critic_from == "reward_model" else None
    return SeparateActorCritic(policy, separate_critic(policy, initial))


def cost_limits(costs: Mapping[str, Callable], options: RewardOptions) -> CostLimits | None:
    """Limits on the means of costs; None where there are no costs.

    Args:
        costs: name -> cost, a reward function of rollouts.
        options: with a limit for each.

    Raises:
        ValueError: if limits, rates or factors are not as many as the costs.
    """
    settings = {
        name: getattr(options, name)
        for name in ("cost_limits", "cost_rates", "cost_proportional", "cost_derivative")
    }
    for name, values in settings.items():
        if len(values) != len(costs) and not (name != "cost_limits" and len(values) == 1):
            raise ValueError(
                f"{name} must be as many as costs. Received: {name}={values}, "
                f"costs={', '.join(costs) or 'none'}"
            )
    if not costs:
        return None
    limits, rates, proportional, derivative = (
        values * (len(costs) if len(values) == 1 else 1) for values in settings.values()
    )
    gains = zip(costs.items(), limits, rates, proportional, derivative)
    return CostLimits(
        {
            name: CostLimit(cost, limit, rate, proportional=p, derivative=d)
            for (name, cost), limit, rate, p, d in gains
        }
    )


def kl_control(chosen: Algorithm, options: OnPolicyOptions) -> FixedKL:
    """What sets the coefficient of a KL in the reward."""
    coefficient = chosen.kl_coefficient if chosen.kl_in == "reward" else 0.0
    penalty = options.kl_penalty
    if penalty.kl == "fixed":
        return FixedKL(coefficient)
    return AdaptiveKL(coefficient, penalty.kl_target, penalty.kl_horizon)
