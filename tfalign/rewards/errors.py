"""What goes wrong with rewards, said in one sentence."""

from __future__ import annotations

import math
from typing import Any

from tfalign.child_process import ChildError


class RewardError(ValueError):
    """A reward that could not be computed, or that no policy should be trained on."""


def finite_number(score: Any, what: str) -> float:
    """The score as a float.

    Args:
        score: what a reward function returned.
        what: str, its name in the message.

    Raises:
        RewardError: if it is not a finite number.

    >>> finite_number(True, "The reward")
    1.0
    """
    try:
        finite = math.isfinite(score)
    except TypeError:
        finite = False
    if not finite:
        raise RewardError(f"{what} is not a finite number. Received: {score!r}")
    return float(score)


def sentence(error: Exception) -> str:
    """What an exception says, with its kind in front where that is not ours."""
    return (
        str(error)
        if isinstance(error, RewardError | ChildError)
        else f"{type(error).__name__}: {error}"
    )
