"""Text generation as a Markov decision process: its pure, batched core.

    state       the prompt, what has been written since and by whom, and whether the episode is over
    action      the next token
    transition  append it; a stop token ends the policy's turn, and then the user speaks, if there
                is one; a silent user terminates, the length limit truncates
    reward      0 until the end, then the score; if asked, less a penalty of every action, such as
                the per-token KL, and plus a potential-based shaping
    discount    0 after termination, else gamma: what a truncated text would have earned is unknown

Every function maps arrays of static shape to arrays of static shape, so that a step compiles to
one XLA program and rows may be at different steps of their episodes. A finished row is absorbing:
no action changes it any more, and it earns 0. States of NumPy arrays are walked on the host, where
scores and users may be Python functions.

State and transition are ``functional.text_state``'s; here is what is earned, and ``TextGenerationMDP``,
which holds one process whole. The faces (Gymnasium, TF-Agents) only call it.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from tfalign.functional.arguments import check_size, check_takes, checked_ids
from tfalign.functional.kl import k1
from tfalign.functional.rows import few_rows_at_a_time, put_rows, take_rows
from tfalign.functional.text_state import State, initial, observation, terminal, transition
from tfalign.types import Array, Prompts


class Step(NamedTuple):
    """What an action brings about."""

    state: State  # the following one
    rewards: Array  # float32[B]
    scores: Array  # float32[B], the part of the reward that is the score; 0 before the end


def discount(state: State, gamma: float = 1.0) -> Array:
    """float32[B], what the value of this state counts in a return: 0 after termination, else gamma."""
    return gamma * ops.cast(~state.terminated, "float32")


def score_at_end(state: State, following: State, score: Callable[..., Array]) -> Array:
    """float32[B], the score in rows whose episode the step has ended, 0 elsewhere.

    Args:
        state: State before the action.
        following: State after it.
        score: ``(token_ids int32[B, T], padding_mask bool[B, T], response_mask bool[B, R]) ->
            float32[B]``, as in ``rewards``, row by row: what it says of one must not depend on the
            others. It is called in steps in which a row ends. Where the states are NumPy arrays it
            may be a Python function, and gets the whole batch; within a compiled step it is made
            of ``keras.ops``, and gets a few rows at a time. One whose ``takes_rows`` is true is also given the states'
            ``records``, as in ``training.responses``; what it says of each token, float32[B, R], is added up.
    """
    ended = ~terminal(state) & terminal(following)
    texts = following.token_ids, following.padding_mask, following.response_mask
    texts += (following.records,) if getattr(score, "takes_rows", False) else ()
    nothing, columns = ops.zeros(ended.shape, "float32"), following.response_mask.shape[1]
    if isinstance(ended, np.ndarray):
        if not ended.any():
            return nothing
        earned = _in_all(np.asarray(score(*texts)), columns)
        _check_scores(earned, ended.shape)
        return np.where(ended, earned.astype("float32"), 0.0)

    def some(rows, left, scores):
        earned = _in_all(ops.convert_to_tensor(score(*take_rows(rows, texts))), columns)
        _check_scores(earned, rows.shape)
        earned = ops.cast(earned, "float32")
        return put_rows(rows, (left, scores), (ops.zeros_like(rows), earned))

    left = ops.cast(ended, "int32")
    _, scores = few_rows_at_a_time(lambda left, _: left, some, (left, nothing))
    return ops.where(ended, scores, 0.0)


def reward(
    state: State,
    following: State,
    score: Callable[..., Array],
    log_probs: Array | None = None,
    ref_log_probs: Array | None = None,
    kl_coefficient: Array | float = 0.0,
) -> Array:
    """What the step from ``state`` to ``following`` earned: the score, less the per-token KL.

    The sum over an episode is the score less beta times the response's log-ratio, as in
    ``functional.advantages.place_rewards``.

    Args:
        state: State before the action.
        following: State after it.
        score: see ``score_at_end``.
        log_probs: float32[B], of the actions under the policy, nats; None for no KL penalty.
        ref_log_probs: float32[B], of the actions under the reference.
        kl_coefficient: float or float32[], beta.

    Returns:
        float32[B].
    """
    earned = score_at_end(state, following, score)
    if log_probs is None:
        return earned
    penalty = kl_coefficient * k1(log_probs, ref_log_probs)
    return earned - ops.where(terminal(state), 0.0, penalty)


def shaping(
    state: State, following: State, potential: Callable[[State], Array], gamma: float = 1.0
) -> Array:
    """gamma Phi(s') - Phi(s), which leaves the optimal policy as it is (Ng et al. 1999, theorem 1).

    Over an episode it adds up, discounted, to -Phi(initial state), whatever the policy does.

    Args:
        state: State before the action.
        following: State after it.
        potential: ``State -> float32[B]``, Phi; taken to be 0 where the episode is over.
        gamma: float, the discount that the agent uses.

    Returns:
        float32[B]; 0 in rows that had ended before.
    """
    before = ops.where(terminal(state), 0.0, potential(state))
    after = ops.where(terminal(following), 0.0, potential(following))
    return gamma * after - before


def _in_all(earned, columns):
    """[B], where it is said of each of the response's columns, [B, R]."""
    if len(earned.shape) != 2 or earned.shape[1] != columns:
        return earned
    return earned.sum(axis=1) if isinstance(earned, np.ndarray) else ops.sum(earned, axis=1)


def _check_scores(scores, shape):
    """Raises a ValueError unless there is a number for every row."""
    is_number = not isinstance(scores, np.ndarray) or scores.dtype.kind in "biuf"
    is_row_each = len(scores.shape) == 1 and scores.shape[0] in (shape[0], None)
    if not is_number or not is_row_each:
        raise ValueError(
            f"A score is a number for every row, float[{', '.join(map(str, shape))}]. "
            f"Received: {scores.dtype}{list(scores.shape)}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class TextGenerationMDP:
    """One decision process whole: where episodes begin, what actions do and what they earn.

    Its methods are the functions of this module with its own arguments filled in; all are pure.

    Attributes:
        prompts: Prompts, N rows; an episode begins with one of them.
        score: see ``score_at_end``.
        max_new_tokens: int, R, columns that policy and user may write.
        vocab_size: int, V; actions are ids below it.
        stop_tokens: ids that end the policy's turn.
        pad_id: int, what stands where no token is.
        gamma: float, discount of the agent; it enters ``discount`` and the shaping alone.
        user: who speaks after the policy's turns, see ``transition``; None for nobody.
        allowed_tokens: ``State -> bool[B, V]``, the actions to choose from, at least one a row;
            None for all. Whoever acts keeps to it: ``transition`` does not look.
        penalty: ``(State, actions int32[B]) -> float32[B]``, taken off the reward of an action,
            such as ``environments.penalties.KLPenalty``; None for nothing.
        potential: see ``shaping``; None for none.
        max_length: int, the most tokens that prompt and response may have together, such as a
            model's positions; None for any number.
        limit_terminates: bool, whether a full text is terminated rather than truncated. Truncated,
            it has its score, and an agent that bootstraps adds its value of a state from which
            nothing is ever learned. Where the limit belongs to the task there is no such value
            (Pardo et al. 2018, 'Time limits in reinforcement learning', section 3).

    Raises:
        ValueError: if a size is not positive, gamma is outside [0, 1], a function does not take its
            arguments, a KLPenalty has other ``allowed_tokens``, an id is outside the vocabulary, or a prompt is empty or too long, naming the
            row.
    """

    prompts: Prompts
    score: Callable
    max_new_tokens: int
    vocab_size: int
    stop_tokens: tuple[int, ...] = ()
    pad_id: int = 0
    gamma: float = 1.0
    user: Callable | None = None
    allowed_tokens: Callable | None = None
    penalty: Callable | None = None
    potential: Callable | None = None
    max_length: int | None = None
    limit_terminates: bool = False

    def __post_init__(self) -> None:
        check_size("max_new_tokens", self.max_new_tokens)
        check_size("vocab_size", self.vocab_size)
        if self.max_length is not None:
            check_size("max_length", self.max_length)
        if not isinstance(self.gamma, numbers.Real) or not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1]. Received: gamma={self.gamma}")
        self._check_tokens()
        self._check_functions()
        self.check(self.prompts)

    def _check_tokens(self):
        tokens = (*np.atleast_1d(np.asarray(self.stop_tokens, "object")), self.pad_id)
        for token in tokens:
            if not isinstance(token, numbers.Integral) or not 0 <= token < self.vocab_size:
                raise ValueError(
                    "stop_tokens and pad_id must be ids of the vocabulary of "
                    f"{self.vocab_size}. Received: {token}"
                )
        if np.ndim(self.stop_tokens) != 1:
            raise ValueError(
                f"stop_tokens is a sequence of ids. Received: stop_tokens={self.stop_tokens}"
            )

    def _check_functions(self):
        rows = ("rows",) if getattr(self.score, "takes_rows", False) else ()
        check_takes(self.score, "score", "token_ids", "padding_mask", "response_mask", *rows)
        for name, *arguments in (
            ("user", "state"),
            ("allowed_tokens", "state"),
            ("penalty", "state", "actions"),
            ("potential", "state"),
        ):
            if getattr(self, name) is not None:
                check_takes(getattr(self, name), name, *arguments)
        if getattr(self.penalty, "allowed_tokens", self.allowed_tokens) is not self.allowed_tokens:
            raise ValueError(
                "The penalty is of distributions restricted to the process's allowed_tokens, so both are given the"
                f" same. Received: {self.allowed_tokens} and {self.penalty.allowed_tokens} for the penalty"
            )
        if hasattr(self.user, "check"):
            self.user.check(self.vocab_size)

    def __deepcopy__(self, memo: dict) -> TextGenerationMDP:
        """Itself: whoever copies an environment still acts on the same models."""
        del memo
        return self

    def check(self, prompts: Prompts) -> None:
        """Raises a ValueError, naming the row, if one of these Prompts cannot begin an episode."""
        if not isinstance(prompts, Prompts):
            raise ValueError(f"prompts must be Prompts. Received: {type(prompts).__name__}")
        _, mask = checked_ids(prompts.token_ids, self.vocab_size, prompts.mask)
        lengths = mask.sum(axis=1)
        if not lengths.all():
            raise ValueError(
                f"The prompt of row {np.argmin(lengths)} is empty: its mask is false everywhere"
            )
        if self.max_length is not None and lengths.max() + self.max_new_tokens > self.max_length:
            raise ValueError(
                f"The prompt of row {np.argmax(lengths)} is too long: {lengths.max()} tokens and "
                f"max_new_tokens={self.max_new_tokens} exceed the limit of {self.max_length}"
            )

    def initial(self, indices: Array) -> State:
        """The states in which the prompts int32[B] of these indices have just been put."""
        return initial(
            self.prompts.each(lambda field: ops.take(field, indices, axis=0)),
            self.max_new_tokens,
            self.pad_id,
        )

    def transition(self, state: State, actions: Array) -> State:
        """The following State, see ``mdp.transition``."""
        following = transition(state, actions, self.stop_tokens, self.user)
        if not self.limit_terminates:
            return following
        return following._replace(
            terminated=terminal(following), truncated=following.truncated & False
        )

    def earned(self, state: State, actions: Array, following: State) -> tuple[Array, Array]:
        """What the actions int32[B] earned: (rewards float32[B], the scores in them float32[B])."""
        scores = score_at_end(state, following, self.score)
        rewards = scores
        if self.penalty is not None:
            rewards = rewards - ops.where(terminal(state), 0.0, self.penalty(state, actions))
        if self.potential is not None:
            rewards = rewards + shaping(state, following, self.potential, self.gamma)
        return rewards, scores

    def step(self, state: State, actions: Array) -> Step:
        """Transition and reward of the actions int32[B]: Step."""
        following = self.transition(state, actions)
        return Step(following, *self.earned(state, actions, following))

    def observation(self, state: State) -> tuple[Array, Array]:
        """What a policy sees, see ``mdp.observation``."""
        return observation(state)

    def action_mask(self, state: State) -> Array:
        """bool[B, V], the actions to choose from."""
        if self.allowed_tokens is None:
            return ops.ones((state.token_ids.shape[0], self.vocab_size), "bool")
        return self.allowed_tokens(state)

    def terminal(self, state: State) -> Array:
        """bool[B], whether the episode is over."""
        return terminal(state)

    def discount(self, state: State) -> Array:
        """float32[B], gamma, or 0 after termination."""
        return discount(state, self.gamma)
