"""Several rewards as one, with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfalign.rewards.errors import RewardError
from tfalign.types import Array


class Combination:
    """A weighted sum of rewards, which can say what each of them gave.

    The parts are all of one kind, and so is their sum: rules ``(prompt, response) -> float``, or
    reward functions of rollouts ``(token_ids, padding_mask, response_mask) -> float32[B]``.

    Args:
        parts: mapping of name to (weight, reward).

    Raises:
        ValueError: if there is no part, or a weight is not finite.

    >>> from tfalign.rewards import Format, Length
    >>> reward = Combination({"digits": (1.0, Format("[0-9]+")), "short": (0.5, Length(3))})
    >>> reward("Say yes.", "yes"), reward.each("Say yes.", "yes")
    (0.5, {'digits': 0.0, 'short': 1.0})
    """

    def __init__(self, parts: Mapping[str, tuple[float, Callable[..., float | Array]]]) -> None:
        if not parts:
            raise ValueError("A combination needs at least one part")
        for name, (weight, _) in parts.items():
            if not np.isfinite(weight):
                raise ValueError(f"The weight of {name} must be finite. Received: {weight}")
        self.parts = dict(parts)

    def __call__(self, *args: Any) -> float | Array:
        """The weighted sum; raises as ``each``."""
        values = self.each(*args)
        return sum(weight * values[name] for name, (weight, _) in self.parts.items())

    def each(self, *args: Any) -> dict[str, float | Array]:
        """What each part gives by itself, without its weight: dict of name to value.

        Raises:
            RewardError: naming a part whose value is not finite.
        """
        values = {name: reward(*args) for name, (_, reward) in self.parts.items()}
        for name, value in values.items():
            if not np.isfinite(np.asarray(value)).all():
                raise RewardError(f"The part {name} is not finite. Received: {value}")
        return values
