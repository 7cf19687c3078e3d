"""Checks of prompts before decoding."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfalign.functional.arguments import checked_ids


def checked_prompts(
    model: Any, token_ids: Any, mask: Any = None, max_new_tokens: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Prompts as arrays, checked to be ones that the model can continue.

    Args:
        model: CausalLM, or another with a ``config``.
        token_ids: int[B, P], padded on either side.
        mask: bool[B, P], true at real tokens, at least one a row; None for all.
        max_new_tokens: int, R, how many tokens are to follow.

    Returns:
        (token_ids int32[B, P], mask bool[B, P]), of NumPy.

    Raises:
        ValueError: if a prompt is empty or has an id outside the vocabulary, naming the row, or
            prompt and response exceed the model's positions.
    """
    token_ids, mask = checked_ids(token_ids, model.config.vocab_size, mask)
    if not mask.any(axis=1).all():
        row = int(np.argmin(mask.any(axis=1)))
        raise ValueError(f"Row {row} of the prompts is empty: its mask is false everywhere")
    total, most = mask.shape[1] + max_new_tokens, model.config.max_positions
    if most is not None and total > most:
        raise ValueError(
            f"Prompt and response need {total} positions (prompt {mask.shape[1]}, "
            f"max_new_tokens {max_new_tokens}), the model has {most}"
        )
    return token_ids, mask


def checked_condition(model: Any, condition: Any, rows: int) -> Any:
    """A condition, checked to be what the model takes.

    Args:
        model: CausalLM, or another; ``takes_condition`` says that it reads one, see ``models.Conditioned``.
        condition: array of B rows, or None.
        rows: int, B.

    Returns:
        array of B rows; None for a model that takes none.

    Raises:
        ValueError: if it is missing or not wanted, or has other rows or another shape or range.
    """
    takes = getattr(model, "takes_condition", False)
    if takes != (condition is not None):
        received = "none" if condition is None else f"one of {len(condition)} rows"
        wants = "reads a condition before each prompt" if takes else "takes no condition"
        raise ValueError(f"The model {wants}. Received: {received}")
    if condition is None:
        return None
    check = getattr(model.backbone, "checked_condition", np.asarray)
    condition = check(condition)
    if len(condition) != rows:
        raise ValueError(
            f"A condition has a row for each of {rows} prompts. Received: {len(condition)} rows"
        )
    return condition
