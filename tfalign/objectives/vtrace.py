"""Actor-critic on rollouts of an older policy, corrected by V-trace."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.advantages import vtrace_of_responses
from tfalign.functional.log_probs import probability_ratio
from tfalign.functional.losses import policy_gradient_loss
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.types import Array, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class VTrace(PolicyObjective):
    """IMPALA's actor-critic (Espeholt et al. 2018, section 4.2).

    Targets and advantages are those of the policy and the critic of this very update, from the
    rollout's rewards and the log-probs of whichever policy sampled it; its own advantages and
    values are not looked at, so its credit is ``training.credit.RewardsAlone``.

    Attributes:
        value_coefficient: weight of the value loss, (v - target)**2 / 2.
        gamma: discount.
        clip_rho: largest weight of a temporal difference.
        clip_trace: largest weight of a trace.
    """

    value_coefficient: float = 0.5
    gamma: float = 1.0
    clip_rho: float = 1.0
    clip_trace: float = 1.0

    def terms(
        self, log_probs: Array, values: Array, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        current = ops.stop_gradient(log_probs)
        targets, advantages = vtrace_of_responses(
            current,
            batch.log_probs,
            batch.rewards,
            ops.stop_gradient(values),
            batch.response_mask,
            self.gamma,
            self.clip_rho,
            self.clip_trace,
        )
        policy_loss = policy_gradient_loss(log_probs, advantages)
        value_error = ops.square(values - targets)
        weights = ops.minimum(probability_ratio(current, batch.log_probs), self.clip_rho)
        return policy_loss + self.value_coefficient * 0.5 * value_error, {
            "policy_loss": policy_loss,
            "value_loss": 0.5 * value_error,
            "value_error": value_error,
            "importance_weight": weights,
        }
