"""Advantage actor-critic."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.losses import policy_gradient_loss
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.types import Array, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class A2C(PolicyObjective):
    """-A log pi + c (v - G)**2 / 2 (Mnih et al. 2016, without their asynchrony).

    What PPO is in its first update, when ratios and values have not moved (Huang et al. 2022, "A2C
    is a special case of PPO"); hence PPO's coefficient. With ``GAE(gae_lambda=1)`` it is REINFORCE
    with a learned baseline.

    Attributes:
        value_coefficient: c, weight of the value loss.
    """

    value_coefficient: float = 0.1

    def terms(
        self, log_probs: Array, values: Array, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        policy_loss = policy_gradient_loss(log_probs, batch.advantages)
        value_error = ops.square(values - ops.stop_gradient(batch.returns))
        return policy_loss + self.value_coefficient * 0.5 * value_error, {
            "policy_loss": policy_loss,
            "value_loss": 0.5 * value_error,
            "value_error": value_error,
        }
