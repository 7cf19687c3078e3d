"""Constrained alignment: a limit on expected cost, by a Lagrange multiplier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfalign.functional.magnitude import is_finite
from tfalign.types import Array


class CostLimit:
    """A second model's cost, weighted by a Lagrange multiplier so that its expectation stays at or below
    a limit.

    The score becomes reward - lambda * cost; lambda rises while a batch's mean cost exceeds the limit
    and falls, not below 0, while it does not (dual ascent: Ray et al. 2019, "Benchmarking safe
    exploration"; for language models Dai et al. 2023, "Safe RLHF", eq. 9). With a KL penalty in the
    reward the policy tends to pi_ref exp((reward - lambda * cost) / beta), lambda being the smallest
    price at which the limit holds.

    Args:
        cost: ``(token_ids, padding_mask, response_mask) -> float32[B]``, as a reward is given.
        limit: float, of the expected cost.
        rate: float > 0, by how much lambda moves for an excess of 1.
        price: float >= 0, lambda at the start.

    Raises:
        ValueError: if rate or price is out of its range, or the limit not finite.
    """

    def __init__(
        self, cost: Callable[..., Array], limit: float, rate: float = 0.05, price: float = 0.0
    ) -> None:
        if not (rate > 0 and price >= 0):
            raise ValueError(
                "rate must be positive and price not negative. "
                f"Received: rate={rate}, price={price}"
            )
        if not is_finite(limit):
            raise ValueError(f"The limit on the cost must be finite. Received: limit={limit}")
        self.cost = cost
        self.limit = limit
        self.rate = rate
        self.price = price

    def __call__(self, token_ids: Array, padding_mask: Array, response_mask: Array) -> Array:
        """float32[B], the cost per row, not yet weighted."""
        return np.asarray(self.cost(token_ids, padding_mask, response_mask))

    def update(self, mean_cost: float) -> None:
        """Updates the Lagrange multiplier after a batch of this mean cost, if that is finite."""
        if not is_finite(mean_cost):
            return
        self.price = max(0.0, self.price + self.rate * (float(mean_cost) - self.limit))

    def state(self) -> dict[str, Any]:
        return {"price": self.price}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.price = state["price"]
