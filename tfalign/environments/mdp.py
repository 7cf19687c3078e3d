"""Text generation as a Markov decision process: its pure, batched core.

    state       the prompt, the tokens written so far, and whether the episode is over
    action      the next token
    transition  append it; a stop token terminates, the length limit truncates
    reward      0 until the end, then the score; if asked, less the per-token KL at every step
    discount    0 after termination, else 1: what a truncated text would have earned is unknown

Every function maps arrays of static shape to arrays of static shape, so that a step compiles to
one XLA program and rows may be at different steps of their episodes. A finished row is absorbing:
no action changes it any more, and it earns 0.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from tfalign.functional.kl import k1
from tfalign.functional.masking import to_left_padded
from tfalign.types import Array


class State(NamedTuple):
    """Where an episode of every row stands: P prompt columns, then R response columns."""

    token_ids: Array  # int32[B, T], left-padded prompt, response, padding id where none is yet
    prompt_mask: Array  # bool[B, P], true at the prompt's real tokens
    response_length: Array  # int32[B], tokens written so far; the next one goes to column P + this
    terminated: Array  # bool[B], a stop token was drawn
    truncated: Array  # bool[B], the response is R tokens long and none of them stopped it

    @property
    def response_mask(self):
        """bool[B, R], true at the tokens written so far."""
        columns = self.token_ids.shape[1] - self.prompt_mask.shape[1]
        return ops.arange(columns, dtype="int32")[None, :] < self.response_length[:, None]

    @property
    def padding_mask(self):
        """bool[B, T], true at the real tokens of prompt and response."""
        return ops.concatenate([self.prompt_mask, self.response_mask], axis=1)


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
        response_length=ops.cast(nobody, "int32"),
        terminated=nobody,
        truncated=nobody,
    )


def transition(state, actions, stop_tokens=()):
    """The state after every unfinished row has written its action.

    Args:
        state: State.
        actions: int32[B], the next tokens; those of finished rows are ignored.
        stop_tokens: ids that end a response; the stop token itself belongs to it.

    Returns:
        State.
    """
    running = ~terminal(state)
    prompt_columns = state.prompt_mask.shape[1]
    columns = ops.arange(state.token_ids.shape[1], dtype="int32")
    next_column = (prompt_columns + state.response_length)[:, None]
    written = (columns[None, :] == next_column) & running[:, None]
    response_length = state.response_length + ops.cast(running, "int32")
    terminated = state.terminated
    for stop_token in stop_tokens:
        terminated = terminated | (running & (actions == stop_token))
    at_limit = response_length == state.token_ids.shape[1] - prompt_columns
    return State(
        token_ids=ops.where(written, actions[:, None], state.token_ids),
        prompt_mask=state.prompt_mask,
        response_length=response_length,
        terminated=terminated,
        truncated=at_limit & ~terminated,
    )


def observation(state):
    """What a policy sees: (token_ids int32[B, T], padding_mask bool[B, T]).

    The distribution of the next token is read at the last real column, and how many columns are
    left says how near the limit is, so nothing of the state is hidden.
    """
    return state.token_ids, state.padding_mask


def terminal(state):
    """bool[B], whether the episode is over, for either reason."""
    return state.terminated | state.truncated


def discount(state):
    """float32[B], what the value of this state counts in a return: 0 after termination, else 1."""
    return ops.cast(~state.terminated, "float32")


def reward(state, following, score, log_probs=None, ref_log_probs=None, kl_coefficient=0.0):
    """What the step from ``state`` to ``following`` earned.

    The sum over an episode is the score less beta times the response's log-ratio, as in
    ``functional.advantages.place_rewards``.

    Args:
        state: State before the action.
        following: State after it.
        score: ``(token_ids int32[B, T], padding_mask bool[B, T], response_mask bool[B, R]) ->
            float32[B]``, as in ``rewards``. It is called with the whole batch, in a step in which
            a row ends, and what it says of other rows is ignored. Within a compiled step, and on
            JAX anywhere, it must be made of ``keras.ops``.
        log_probs: float32[B], of the actions under the policy, nats; None for no KL penalty.
        ref_log_probs: float32[B], of the actions under the reference.
        kl_coefficient: float or float32[], beta.

    Returns:
        float32[B].
    """
    running = ~terminal(state)
    ended = running & terminal(following)

    def scores():
        masks = following.padding_mask, following.response_mask
        return ops.convert_to_tensor(score(following.token_ids, *masks), "float32")

    earned = ops.cond(ops.any(ended), scores, lambda: ops.zeros(ended.shape, "float32"))
    earned = ops.where(ended, earned, 0.0)
    if log_probs is None:
        return earned
    penalty = kl_coefficient * k1(log_probs, ref_log_probs)
    return earned - ops.where(running, penalty, 0.0)
