"""Constrained alignment: limits on expected costs, each with a Lagrange multiplier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfalign.functional.magnitude import is_finite
from tfalign.types import Array


class CostLimit:
    """One cost's limit, and the controller of its Lagrange multiplier lambda.

    lambda rises while a batch's mean cost exceeds the limit and falls, not below 0, while it does not. By default it
    is the integral of the excess alone, dual ascent (Ray et al. 2019, "Benchmarking safe exploration"; for language
    models Dai et al. 2023, "Safe RLHF", eq. 9); with a proportional and a derivative term it is a PID controller
    (Stooke et al. 2020, algorithm 2), which overshoots less:

        lambda = max(0, proportional * excess + integral + derivative * max(0, cost - cost before))

    Args:
        cost: ``(token_ids, padding_mask, response_mask) -> float32[B]``, as a reward is given; one whose
            ``takes_rows`` is true is also given the prompts' ``rows``.
        limit: float, of the expected cost.
        rate: float > 0, by how much the integral moves for an excess of 1.
        price: float >= 0, lambda at the start.
        proportional: float >= 0, factor of the excess.
        derivative: float >= 0, factor of what the cost has risen since the batch before.

    Attributes:
        price: float, lambda.

    Raises:
        ValueError: if rate, price or a factor is out of its range, or the limit not finite.

    >>> limit = CostLimit(cost=None, limit=1.0, rate=0.5)
    >>> limit.update(3.0)
    >>> limit.price
    1.0
    """

    def __init__(
        self,
        cost: Callable[..., Array],
        limit: float,
        rate: float = 0.05,
        price: float = 0.0,
        proportional: float = 0.0,
        derivative: float = 0.0,
    ) -> None:
        if not (rate > 0 and price >= 0 and proportional >= 0 and derivative >= 0):
            raise ValueError(
                "rate must be positive, and price, proportional and derivative not negative. "
                f"Received: rate={rate}, price={price}, proportional={proportional}, "
                f"derivative={derivative}"
            )
        if not is_finite(limit):
            raise ValueError(f"The limit on the cost must be finite. Received: limit={limit}")
        self.cost = cost
        self.limit = limit
        self.rate = rate
        self.proportional = proportional
        self.derivative = derivative
        self.price = price
        self._integral = price
        self._last_cost: float | None = None

    def update(self, mean_cost: float) -> None:
        """Updates the Lagrange multiplier after a batch of this mean cost, if that is finite."""
        if not is_finite(mean_cost):
            return
        cost = float(mean_cost)
        excess = cost - self.limit
        risen = 0.0 if self._last_cost is None else max(0.0, cost - self._last_cost)
        self._integral = max(0.0, self._integral + self.rate * excess)
        wanted = self.proportional * excess + self._integral + self.derivative * risen
        self.price = max(0.0, wanted)
        self._last_cost = cost

    def state(self) -> dict[str, Any]:
        return {"price": self.price, "integral": self._integral, "last_cost": self._last_cost}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.price, self._integral = state["price"], state["integral"]
        self._last_cost = state["last_cost"]


class CostLimits:
    """Limits on several expected costs at once.

    The score becomes reward - sum of lambda_i cost_i. With a KL penalty of coefficient beta in the reward the policy
    tends to pi_ref exp((reward - sum of lambda_i cost_i) / beta), the lambdas being those that minimise the dual
    beta log Z(lambda) + sum of lambda_i limit_i over lambda >= 0.

    Args:
        limits: name of a cost -> CostLimit, C of them.

    Raises:
        ValueError: if there is none.

    >>> limits = CostLimits({"long": CostLimit(None, 20.0, price=0.5), "rude": CostLimit(None, 0.01)})
    >>> limits.update({"long": 30.0, "rude": 0.0})
    >>> limits.prices.tolist()
    [1.0, 0.0]
    """

    def __init__(self, limits: Mapping[str, CostLimit]) -> None:
        if not limits:
            raise ValueError("CostLimits needs one limit at least")
        self.limits = dict(limits)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the costs, in the order of all arrays."""
        return tuple(self.limits)

    @property
    def prices(self) -> np.ndarray:
        """float64[C], the Lagrange multipliers."""
        return np.array([limit.price for limit in self.limits.values()])

    def update(self, mean_costs: Mapping[str, float]) -> None:
        """Updates every Lagrange multiplier after a batch of these mean costs."""
        for name, limit in self.limits.items():
            limit.update(mean_costs[name])

    def state(self) -> dict[str, Any]:
        return {name: limit.state() for name, limit in self.limits.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, limit in self.limits.items():
            limit.restore(state[name])
