"""From prompts to scored responses: the half of a rollout that needs no gradient and no reference.

It runs where the learner is, or in processes of their own (``training.dealing``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from tfalign.decoding import (
    ContinuousConversation,
    ContinuousGenerator,
    Conversation,
    Generator,
    Greedy,
    Sampler,
)
from tfalign.decoding.constraints import Constraint
from tfalign.decoding.generate import Responses
from tfalign.functional.advantages import group_has_spread
from tfalign.functional.arguments import check_size
from tfalign.functional.text_state import State
from tfalign.models.actor_critic import copy_weights
from tfalign.rewards.errors import RewardError
from tfalign.training.lagrange import CostLimits
from tfalign.types import Array, Generation, Prompts


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """Settings of rollouts: how responses are sampled, and which of them count.

    Attributes:
        max_new_tokens: R.
        temperature: of the sampler, and of all log-probs.
        stop_tokens: ids that end a response.
        pad_id: what stands after the end.
        group_size: G, completions of every prompt; they stand next to each other, so a batch of
            prompts gives a rollout of G times as many rows.
        missing_stop_score: score of a response that never ended, instead of the reward model's;
            None to keep it.
        missing_stop_penalty: taken off the score of a response that never ended.
        overlong_buffer: tokens before the limit over which a score falls by up to 1 (DAPO, Yu et
            al. 2025, eq. 13); 0 for no such penalty.
        mask_overlong: leave responses that never ended out of the loss.
        redraws: how often at most the groups whose scores are all equal are resampled, all rows
            at once (the bounded form of DAPO's dynamic sampling).
        drop_zero_spread: leave groups whose scores are all equal out of the loss. They have no
            policy gradient either way; their KL term, and their tokens in a mean, go too.
        constraint: which tokens may come next, of the sampler, and of all log-probs; see
            ``decoding.constraints``. None for all.
        user: who speaks after each of the policy's turns, see ``decoding.conversation``; the response is then the
            conversation, of ``max_new_tokens`` columns in all. None for nobody: one turn.
        slots: responses, or conversations, that are decoded at once, where one that ends makes room for the next, see
            ``decoding.continuous`` and ``decoding.continuous_conversation``; None for all of a batch.
        packed: whether the reference, the critic and the updates see several responses in a row, see
            ``training.packing``, where their lengths differ.

    Raises:
        ValueError: if group_size or slots is not positive, or one completion a prompt is to be compared.
    """

    max_new_tokens: int
    temperature: float = 1.0
    stop_tokens: tuple[int, ...] = ()
    pad_id: int = 0
    group_size: int = 1
    missing_stop_score: float | None = None
    missing_stop_penalty: float = 0.0
    overlong_buffer: int = 0
    mask_overlong: bool = False
    redraws: int = 0
    drop_zero_spread: bool = False
    constraint: Constraint | None = None
    user: Callable[[State], tuple[Array, Array]] | None = None
    slots: int | None = None
    packed: bool = False

    def __post_init__(self) -> None:
        compares = self.redraws > 0 or self.drop_zero_spread
        if self.group_size < 1 or (compares and self.group_size < 2):
            raise ValueError(
                "group_size must be at least 1, and 2 where groups of equal scores are drawn again "
                f"or dropped. Received: group_size={self.group_size}"
            )
        if self.slots is not None:
            check_size("slots", self.slots)


class ScoredResponses(NamedTuple):
    """Responses to prompts with their rewards and costs."""

    generation: Generation
    token_ids: Array  # int32[B, T], left-padded prompt, then response
    padding_mask: Array  # bool[B, T]
    scores: Array  # float32[B], less the prices of the costs
    rewards: Array  # float32[B], the reward's own
    costs: Array | None  # float32[B, C]; None without a limit on them
    earned: Array | None = None  # float32[B, R], of rewards that say which tokens earned them
    condition: Array | None = None  # [B, ...], as the prompts'; None for nothing


class Responder:
    """Samples responses to prompts and scores them with the reward.

    Args:
        policy: CausalLM.
        reward: ``(token_ids, padding_mask, response_mask) -> float32[B]``, see ``rewards``, or float32[B, R], what
            each token earned; one whose ``takes_rows`` is true is also given the prompts' ``rows``.
        config: RolloutConfig.
        value_head: of a critic on the policy's states, whose values are wanted; None for none.
        cost_limits: ``lagrange.CostLimits``; None for none.
    """

    def __init__(
        self,
        policy: keras.Model,
        reward: Callable[..., Array],
        config: RolloutConfig,
        value_head: keras.layers.Layer | None = None,
        cost_limits: CostLimits | None = None,
    ) -> None:
        self.reward = reward
        self.config = config
        self.cost_limits = cost_limits
        self.generator = generator_of(policy, config, Sampler(config.temperature), value_head)

    def __call__(
        self, prompts: Prompts, seed: int, row_ids: Array | None = None
    ) -> ScoredResponses:
        """Samples and scores; groups without spread are resampled while ``redraws`` lasts.

        Args:
            prompts: Prompts.
            seed: int in [0, 2**32).
            row_ids: int32[number of prompts], see ``Generator``; completion g of a prompt draws
                from stream G * row_id + g.

        Returns:
            ScoredResponses of G rows a prompt.

        Raises:
            RewardError: if a score or a cost is not finite, naming the row.
        """
        prompts, row_ids = repeated(prompts, row_ids, self.config.group_size)
        answers = self._answer(prompts, seed, row_ids)
        for attempt in range(1, self.config.redraws + 1):
            stale = ~np.asarray(has_spread(answers.scores, self.config.group_size))
            if not stale.any():
                break
            fresh_seed = np.random.SeedSequence([int(seed), attempt]).generate_state(1)[0]
            fresh = self._answer(prompts, fresh_seed, row_ids)
            answers = _replaced(answers, fresh, stale)
        return answers

    def score(self, prompts: Prompts, generation: Generation) -> ScoredResponses:
        """Rewards, and costs where there is a limit, of given responses.

        Args:
            prompts: Prompts of B rows.
            generation: Generation of B rows.

        Returns:
            ScoredResponses.

        Raises:
            RewardError: if a score or a cost is not finite, naming the row.
        """
        answered = *join(prompts, generation), generation.mask
        rewards, earned = _called(self.reward, answered, prompts), None
        if np.ndim(rewards) == 2:
            rewards, earned = np.sum(rewards, axis=1), np.asarray(rewards, "float32")
        rewards = _checked("score", rewards)
        if self.cost_limits is None:
            scored = rewards, rewards, None, earned
            return ScoredResponses(generation, *answered[:2], *scored, prompts.condition)
        costs = np.stack(
            [
                _checked(f"cost {name}", _called(limit.cost, answered, prompts))
                for name, limit in self.cost_limits.limits.items()
            ],
            axis=1,
        )
        charged = costs @ self.cost_limits.prices
        scores = _checked("score less the prices of its costs", rewards - charged)
        scored = scores, rewards, costs, earned
        return ScoredResponses(generation, *answered[:2], *scored, prompts.condition)

    def generate(
        self,
        prompts: Prompts,
        seed: int,
        row_ids: Array | None = None,
        generator: Responses | None = None,
    ) -> Generation:
        """One response to every prompt, or one conversation, by this generator or by another of ``generator_of``."""
        generator = self.generator if generator is None else generator
        given = prompts.token_ids, prompts.mask, seed, row_ids
        return generator(*given, prompts.condition, prompts.rows)

    def _answer(self, prompts, seed, row_ids):
        return self.score(prompts, self.generate(prompts, seed, row_ids))


def generator_of(
    policy: keras.Model,
    config: RolloutConfig,
    sampler: Sampler | Greedy,
    value_head: keras.layers.Layer | None = None,
) -> Responses:
    """The decode loop that the settings of rollouts ask for: of one turn or of several, at once or in slots."""
    how = sampler, config.stop_tokens, config.pad_id, value_head, config.constraint
    given = policy, config.max_new_tokens
    if config.user is None:
        if config.slots is None:
            return Generator(*given, *how)
        return ContinuousGenerator(*given, config.slots, *how)
    if config.slots is None:
        return Conversation(*given, config.user, *how)
    return ContinuousConversation(*given, config.user, config.slots, *how)


class OlderResponder(Responder):
    """Responds with a copy of the policy, which stays as it is until it is refreshed.

    Args:
        copy: CausalLM, the copy.
        reward, config, cost_limits: see ``Responder``.
        corrected: bool, whether rollouts have the copy's log-probs, so that ratios make up for its age; or those
            of today's policy, as if it had responded. KL and values are those of today either way.

    Attributes:
        variables: dict of what a checkpoint must hold, see ``RunState``.
    """

    def __init__(
        self,
        copy: keras.Model,
        reward: Callable[..., Array],
        config: RolloutConfig,
        cost_limits: CostLimits | None = None,
        corrected: bool = True,
    ) -> None:
        super().__init__(copy, reward, config, None, cost_limits)
        self.copy = copy
        self.corrected = corrected
        self.variables = {"sampler": copy.variables}

    def refresh(self, policy: keras.Model) -> None:
        """Copies the policy's weights to the copy."""
        copy_weights(policy, self.copy)


def repeated(prompts: Prompts, row_ids: Array | None, size: int) -> tuple[Prompts, Array | None]:
    """Every prompt, and its stream of random numbers, once for each of its ``size`` completions:
    (Prompts, row_ids int32[...] or None)."""
    if size == 1:
        return prompts, row_ids
    row_ids = np.arange(len(prompts.token_ids)) if row_ids is None else np.asarray(row_ids)
    prompts = prompts.each(lambda field: np.repeat(np.asarray(field), size, axis=0))
    return prompts, (size * row_ids[:, None] + np.arange(size)).ravel()


def join(prompts: Prompts, generation: Generation) -> tuple[Array, Array]:
    """Prompt and response side by side: (token_ids int32[B, T], padding_mask bool[B, T])."""
    order = np.argsort(np.asarray(prompts.mask), axis=1, kind="stable")
    left = np.take_along_axis(np.asarray(prompts.token_ids), order, axis=1)
    left_mask = np.take_along_axis(np.asarray(prompts.mask), order, axis=1)
    token_ids = np.concatenate([left, np.asarray(generation.tokens)], axis=1)
    padding_mask = np.concatenate([left_mask, np.asarray(generation.padding_mask)], axis=1)
    return token_ids.astype("int32"), padding_mask.astype("bool")


def has_spread(scores: Array, group_size: int) -> Array:
    """bool[B], whether the scores of a response's group differ; all true without groups."""
    if group_size == 1:
        return ops.ones_like(scores, "bool")
    return group_has_spread(scores, group_size)


def _called(reward, answered, prompts):
    """What a reward, or a cost, gives; with the prompts' rows where it takes them."""
    rows = (prompts.rows,) if getattr(reward, "takes_rows", False) else ()
    return reward(*answered, *rows)


def _checked(what, scores):
    """float32[B] of finite numbers."""
    scores = np.asarray(scores, "float32")
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise RewardError(f"The {what} of row {row} is not finite. Received: {scores[row]}")
    return scores


def _replaced(answers, others, rows):
    """ScoredResponses with those of other answers in the chosen rows, bool[B]."""

    def choose(kept, new):
        if kept is None:
            return None
        kept = np.asarray(kept)
        return np.where(rows.reshape(-1, *[1] * (kept.ndim - 1)), np.asarray(new), kept)

    generation = Generation(*map(choose, answers.generation, others.generation))
    return ScoredResponses(generation, *map(choose, answers[1:], others[1:]))
