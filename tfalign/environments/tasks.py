"""Processes small enough to solve by enumeration, to try an agent on before a language model."""

from __future__ import annotations

import itertools

import numpy as np
from keras import ops

from tfalign.environments.mdp import TextGenerationMDP
from tfalign.types import Prompts


def repeat_prompt(vocab_size: int = 6, max_new_tokens: int = 4) -> TextGenerationMDP:
    """Say the prompt's token, again and again: a point for every time; the optimum is R.

    Id 0 is padding and 1 stops; each of the others is a prompt of one token. Nothing is earned
    until the end, and the best action depends on the prompt. The limit terminates: it is part of
    the task.

    Args:
        vocab_size: int > 2, V.
        max_new_tokens: int, R.

    Returns:
        TextGenerationMDP with V - 2 prompts.
    """
    targets = np.arange(2, vocab_size, dtype="int32")[:, None]
    return TextGenerationMDP(
        prompts=Prompts(targets, np.ones_like(targets, "bool")),
        score=_repetitions,
        max_new_tokens=max_new_tokens,
        vocab_size=vocab_size,
        stop_tokens=(1,),
        limit_terminates=True,
    )


def _repetitions(token_ids, padding_mask, response_mask):
    """float32[B], how often the one token of the prompt is said."""
    del padding_mask
    repeated = token_ids[:, 1:] == token_ids[:, :1]
    return ops.sum(ops.cast(repeated & response_mask, "float32"), axis=1)


def best_returns(mdp: TextGenerationMDP) -> np.ndarray:
    """The optimal value of every prompt, found by trying all V**R sequences of actions.

    Args:
        mdp: TextGenerationMDP without a penalty, small: N * V**R rows are walked at once.

    Returns:
        float32[N], the largest discounted sum of rewards.
    """
    sequences = itertools.product(range(mdp.vocab_size), repeat=mdp.max_new_tokens)
    actions = np.array(list(sequences), "int32")
    count = len(mdp.prompts.token_ids)
    state = mdp.initial(np.repeat(np.arange(count, dtype="int32"), len(actions)))
    allowed, returns = True, 0.0
    for t, column in enumerate(np.tile(actions, (count, 1)).T):
        may = np.take_along_axis(np.asarray(mdp.action_mask(state)), column[:, None], axis=1)
        allowed &= may[:, 0] | np.asarray(mdp.terminal(state))
        state, rewards, _ = mdp.step(state, column)
        returns += mdp.gamma**t * np.asarray(rewards)
    return np.where(allowed, returns, -np.inf).reshape(count, -1).max(axis=1)
