"""The policy gradient itself, without a ratio and without a clip."""

from __future__ import annotations

import dataclasses

from tfalign.functional.losses import policy_gradient_loss
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.types import Array, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reinforce(PolicyObjective):
    """-A log pi (Williams 1992); the credit decides whether it is REINFORCE, ReMax or RLOO.

    Right for one update on fresh rollouts: it does not notice that the policy has moved.
    """

    def terms(
        self, log_probs: Array, values: Array | None, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        del values
        policy_loss = policy_gradient_loss(log_probs, batch.advantages)
        return policy_loss, {"policy_loss": policy_loss}
