"""How strongly the policy is held to its reference."""

from __future__ import annotations


class FixedKL:
    """A constant coefficient (Ziegler et al. 2019 use 0.03 to 0.1 per nat).

    Args:
        coefficient: float, beta, reward units per nat.

    Raises:
        ValueError: if the coefficient is negative.
    """

    def __init__(self, coefficient=0.05):
        if coefficient < 0:
            raise ValueError(f"The KL coefficient is negative. Received: coefficient={coefficient}")
        self.coefficient = coefficient

    def update(self, kl, num_episodes):
        """Called after every update with the mean KL of its responses."""

    def state(self):
        return {"coefficient": self.coefficient}

    def restore(self, state):
        self.coefficient = state["coefficient"]


class AdaptiveKL(FixedKL):
    """Moves the coefficient until the KL stays at a target (Ziegler et al. 2019, section 2.2).

    beta *= 1 + clip(KL / target - 1, -0.2, 0.2) * episodes / horizon.

    Args:
        coefficient: float, beta at the start.
        target: float, nats a response.
        horizon: float, episodes over which an error of 20% moves beta by about 20%.

    Raises:
        ValueError: if the target or the horizon is not positive.
    """

    def __init__(self, coefficient=0.15, target=6.0, horizon=10_000):
        super().__init__(coefficient)
        if not (target > 0 and horizon > 0):
            raise ValueError(
                "Target and horizon of the adaptive KL must be positive. "
                f"Received: target={target}, horizon={horizon}"
            )
        self.target = target
        self.horizon = horizon

    def update(self, kl, num_episodes):
        """Moves the coefficient.

        Args:
            kl: float, mean over responses of the KL summed over their tokens, nats.
            num_episodes: int, responses it is the mean of.
        """
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coefficient *= 1.0 + error * num_episodes / self.horizon
