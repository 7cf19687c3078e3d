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

``TextGenerationMDP`` holds one process whole; the faces (Gymnasium, TF-Agents) only call it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from tfalign.functional.kl import k1
from tfalign.functional.masking import to_left_padded
from tfalign.functional.rows import few_rows_at_a_time, put_rows, take_rows
from tfalign.types import Array, Prompts


class State(NamedTuple):
    """Where an episode of every row stands: P prompt columns, then R response columns."""

    token_ids: Array  # int32[B, T], left-padded prompt, response, padding id where none is yet
    prompt_mask: Array  # bool[B, P], true at the prompt's real tokens
    response_mask: Array  # bool[B, R], true at the policy's tokens: not the user's, not padding
    response_length: Array  # int32[B], columns written so far; the next one is column P + this
    terminated: Array  # bool[B], a stop token was drawn, and no user went on
    truncated: Array  # bool[B], all R columns are written, and the episode did not terminate

    @property
    def written_mask(self):
        """bool[B, R], true at the tokens written so far, by the policy or the user."""
        columns = ops.arange(self.response_mask.shape[1], dtype="int32")
        return columns[None, :] < self.response_length[:, None]

    @property
    def padding_mask(self):
        """bool[B, T], true at the real tokens of prompt and response."""
        return ops.concatenate([self.prompt_mask, self.written_mask], axis=1)

    @property
    def user_turns(self):
        """int32[B], how often the user has spoken since the prompt."""
        users = ops.cast(self.written_mask & ~self.response_mask, "int32")
        after_policy = ops.cast(self.response_mask, "int32")[:, :-1] * users[:, 1:]
        return ops.sum(after_policy, axis=1)


class Step(NamedTuple):
    """What an action brings about."""

    state: State  # the following one
    rewards: Array  # float32[B]
    scores: Array  # float32[B], the part of the reward that is the score; 0 before the end


def initial(prompts, max_new_tokens, pad_id=0):
    """The state in which nothing has been written.

    Args:
        prompts: Prompts, padded on either side.
        max_new_tokens: int, R, the length limit.
        pad_id: int, what stands where no token has been written.

    Returns:
        State.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive.
    """
    if max_new_tokens < 1:
        raise ValueError(
            f"max_new_tokens must be at least 1. Received: max_new_tokens={max_new_tokens}"
        )
    token_ids, mask = to_left_padded(
        ops.convert_to_tensor(prompts.token_ids, "int32"),
        ops.convert_to_tensor(prompts.mask, "bool"),
    )
    nobody = ops.zeros((token_ids.shape[0],), "bool")
    return State(
        token_ids=ops.pad(token_ids, ((0, 0), (0, max_new_tokens)), constant_values=pad_id),
        prompt_mask=mask,
        response_mask=ops.zeros((token_ids.shape[0], max_new_tokens), "bool"),
        response_length=ops.cast(nobody, "int32"),
        terminated=nobody,
        truncated=nobody,
    )


def transition(state, actions, stop_tokens=(), user=None):
    """The state after every unfinished row has written its action, and heard the user.

    Args:
        state: State.
        actions: int32[B], the next tokens; those of finished rows are ignored.
        stop_tokens: ids that end the policy's turn; the stop token itself belongs to it.
        user: ``State -> (token_ids int32[B, U], lengths int32[B])``, what the user says after
            the policy's turn: the first ``lengths[b]`` tokens of row b, of which those beyond
            the limit are cut. None of them ends the episode. It is called with the whole batch, in
            a step in which a turn ends, and what it says to other rows is ignored. None for no
            user: the end of the turn is that of the episode.

    Returns:
        State.
    """
    running = ~terminal(state)
    token_ids, response_length, written = _write(
        state, actions[:, None], ops.cast(running, "int32")
    )
    state = state._replace(
        token_ids=token_ids,
        response_length=response_length,
        response_mask=state.response_mask | written,
    )
    stopped = running & False
    for stop_token in stop_tokens:
        stopped = stopped | (running & (actions == stop_token))
    if user is not None:
        token_ids, response_length, stopped = _hear(state, stopped, user)
        state = state._replace(token_ids=token_ids, response_length=response_length)
    terminated = state.terminated | stopped
    at_limit = state.response_length == state.response_mask.shape[1]
    return state._replace(terminated=terminated, truncated=at_limit & ~terminated)


def _write(state, token_ids, lengths):
    """Appends the first ``lengths[b]`` tokens to row b, as far as there is room.

    Returns:
        (token_ids int32[B, T], response_length int32[B], written bool[B, R]).
    """
    prompt_columns, limit = state.prompt_mask.shape[1], state.response_mask.shape[1]
    index = ops.arange(limit, dtype="int32")[None, :] - state.response_length[:, None]
    written = (index >= 0) & (index < lengths[:, None])
    index = ops.clip(index, 0, token_ids.shape[1] - 1)
    response = ops.where(
        written,
        ops.take_along_axis(token_ids, index, axis=1),
        state.token_ids[:, prompt_columns:],
    )
    return (
        ops.concatenate([state.token_ids[:, :prompt_columns], response], axis=1),
        ops.minimum(state.response_length + lengths, limit),
        written,
    )


def _hear(state, stopped, user):
    """The user's turn in rows that stopped: (token_ids, response_length, bool[B] nothing said)."""

    def ask():
        token_ids, lengths = user(state)
        lengths = ops.where(stopped, ops.convert_to_tensor(lengths, "int32"), 0)
        words = ops.convert_to_tensor(token_ids, "int32")
        token_ids, response_length, _ = _write(state, words, lengths)
        return token_ids, response_length, stopped & (lengths == 0)

    return _if_any(stopped, ask, lambda: (state.token_ids, state.response_length, stopped))


def _if_any(mask, then, otherwise):
    """One branch or the other; of a NumPy mask on the host, so that it may be plain Python."""
    if isinstance(mask, np.ndarray):
        return then() if mask.any() else otherwise()
    return ops.cond(ops.any(mask), then, otherwise)


def observation(state):
    """What a policy sees: (token_ids int32[B, T], padding_mask bool[B, T]).

    The distribution of the next token is read at the last real column, and how many columns are
    left says how near the limit is, so nothing is hidden that the future depends on.
    """
    return state.token_ids, state.padding_mask


def terminal(state):
    """bool[B], whether the episode is over, for either reason."""
    return state.terminated | state.truncated


def discount(state, gamma=1.0):
    """float32[B], what the value of this state counts in a return: 0 after termination, else gamma."""
    return gamma * ops.cast(~state.terminated, "float32")


def score_at_end(state, following, score):
    """float32[B], the score in rows whose episode the step has ended, 0 elsewhere.

    Args:
        state: State before the action.
        following: State after it.
        score: ``(token_ids int32[B, T], padding_mask bool[B, T], response_mask bool[B, R]) ->
            float32[B]``, as in ``rewards``, row by row: what it says of one must not depend on the
            others. It is called in steps in which a row ends. Where the states are NumPy arrays it
            may be a Python function, and gets the whole batch; within a compiled step it is made
            of ``keras.ops``, and gets a few rows at a time.
    """
    ended = ~terminal(state) & terminal(following)
    texts = following.token_ids, following.padding_mask, following.response_mask
    nothing = ops.zeros(ended.shape, "float32")
    if isinstance(ended, np.ndarray):
        return (
            np.where(ended, np.asarray(score(*texts), "float32"), 0.0) if ended.any() else nothing
        )

    def some(rows, left, scores):
        earned = ops.cast(score(*take_rows(rows, texts)), "float32")
        return put_rows(rows, (left, scores), (ops.zeros_like(rows), earned))

    left = ops.cast(ended, "int32")
    _, scores = few_rows_at_a_time(lambda left, _: left, some, (left, nothing))
    return ops.where(ended, scores, 0.0)


def reward(state, following, score, log_probs=None, ref_log_probs=None, kl_coefficient=0.0):
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


def shaping(state, following, potential, gamma=1.0):
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
        ValueError: if a size is not positive, gamma is outside [0, 1], an id is outside the
            vocabulary, or a prompt is empty or too long, naming the row.
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

    def __post_init__(self):
        for name in ("max_new_tokens", "vocab_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1. Received: {name}={getattr(self, name)}"
                )
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1]. Received: gamma={self.gamma}")
        for token in (*self.stop_tokens, self.pad_id):
            if not 0 <= token < self.vocab_size:
                raise ValueError(
                    "stop_tokens and pad_id must be ids of the vocabulary of "
                    f"{self.vocab_size}. Received: {token}"
                )
        self.check(self.prompts)

    def __deepcopy__(self, memo):
        """Itself: whoever copies an environment still acts on the same models."""
        del memo
        return self

    def check(self, prompts):
        """Raises a ValueError, naming the row, if one of these Prompts cannot begin an episode."""
        token_ids, mask = np.asarray(prompts.token_ids), np.asarray(prompts.mask, "bool")
        lengths = mask.sum(axis=1)
        if not lengths.all():
            raise ValueError(
                f"The prompt of row {np.argmin(lengths)} is empty: its mask is false everywhere"
            )
        outside = (mask & ((token_ids < 0) | (token_ids >= self.vocab_size))).any(axis=1)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"The prompt of row {row} has an id outside the vocabulary of {self.vocab_size}. "
                f"Received: {token_ids[row][mask[row]].tolist()}"
            )
        if self.max_length is not None and lengths.max() + self.max_new_tokens > self.max_length:
            raise ValueError(
                f"The prompt of row {np.argmax(lengths)} is too long: {lengths.max()} tokens and "
                f"max_new_tokens={self.max_new_tokens} exceed the limit of {self.max_length}"
            )

    def initial(self, indices):
        """The states in which the prompts int32[B] of these indices have just been put."""
        return initial(
            self.prompts.each(lambda field: ops.take(field, indices, axis=0)),
            self.max_new_tokens,
            self.pad_id,
        )

    def transition(self, state, actions):
        """The following State, see ``mdp.transition``."""
        following = transition(state, actions, self.stop_tokens, self.user)
        if not self.limit_terminates:
            return following
        return following._replace(
            terminated=terminal(following), truncated=following.truncated & False
        )

    def earned(self, state, actions, following):
        """What the actions int32[B] earned: (rewards float32[B], the scores in them float32[B])."""
        scores = score_at_end(state, following, self.score)
        rewards = scores
        if self.penalty is not None:
            rewards = rewards - ops.where(terminal(state), 0.0, self.penalty(state, actions))
        if self.potential is not None:
            rewards = rewards + shaping(state, following, self.potential, self.gamma)
        return rewards, scores

    def step(self, state, actions):
        """Transition and reward of the actions int32[B]: Step."""
        following = self.transition(state, actions)
        return Step(following, *self.earned(state, actions, following))

    def observation(self, state):
        """What a policy sees, see ``mdp.observation``."""
        return observation(state)

    def action_mask(self, state):
        """bool[B, V], the actions to choose from."""
        if self.allowed_tokens is None:
            return ops.ones((state.token_ids.shape[0], self.vocab_size), "bool")
        return self.allowed_tokens(state)

    def terminal(self, state):
        """bool[B], whether the episode is over."""
        return terminal(state)

    def discount(self, state):
        """float32[B], gamma, or 0 after termination."""
        return discount(state, self.gamma)
