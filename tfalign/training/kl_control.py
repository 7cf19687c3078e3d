"""KL control: the coefficient of the KL penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfalign.functional.magnitude import is_finite


class FixedKL:
    """A constant coefficient (Ziegler et al. 2019 use 0.03 to 0.1 per nat).

    Args:
        coefficient: float, beta, reward units per nat.

    Raises:
        ValueError: if the coefficient is negative or not finite.
    """

    def __init__(self, coefficient: float = 0.05) -> None:
        if not (coefficient >= 0 and is_finite(coefficient)):
            raise ValueError(
                "The KL coefficient must be a finite number, not negative. "
                f"Received: coefficient={coefficient}"
            )
        self.coefficient = coefficient

    def update(self, kl: float, num_episodes: int) -> None:
        """Called after every update with the mean KL of its responses."""

    def state(self) -> dict[str, Any]:
        return {"coefficient": self.coefficient}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.coefficient = state["coefficient"]


class AdaptiveKL(FixedKL):
    """Adaptive coefficient that keeps the KL at a target (Ziegler et al. 2019, section 2.2).

    beta *= 1 + clip(KL / target - 1, -0.2, 0.2) * episodes / horizon.

    Args:
        coefficient: float, beta at the start.
        target: float, nats a response.
        horizon: float, episodes over which an error of 20% moves beta by about 20%.

    Raises:
        ValueError: if the target or the horizon is not positive.
    """

    def __init__(
        self, coefficient: float = 0.15, target: float = 6.0, horizon: float = 10_000
    ) -> None:
        super().__init__(coefficient)
        if not (target > 0 and horizon > 0):
            raise ValueError(
                "Target and horizon of the adaptive KL must be positive. "
                f"Received: target={target}, horizon={horizon}"
            )
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, num_episodes: int) -> None:
        """Moves the coefficient; a KL that is not finite leaves it where it is.

        Args:
            kl: float, mean over responses of the KL summed over their tokens, nats.
            num_episodes: int, responses it is the mean of.

        Raises:
            ValueError: if there are more episodes than the horizon has, of which a fifth moves the
                coefficient: it could fall below 0.
        """
        if num_episodes > self.horizon:
            raise ValueError(
                f"The adaptive KL's horizon must be at least the {num_episodes} episodes of a batch. "
                f"Received: horizon={self.horizon}"
            )
        if not is_finite(kl):
            return
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coefficient *= 1.0 + error * num_episodes / self.horizon
