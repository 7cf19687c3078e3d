"""Actor-critic on rollouts of an older policy, corrected by V-trace."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.advantages import vtrace
from tfalign.functional.log_probs import probability_ratio
from tfalign.functional.losses import policy_gradient_loss
from tfalign.objectives.policy_objective import PolicyObjective


@dataclasses.dataclass(frozen=True, kw_only=True)
class VTrace(PolicyObjective):
    """IMPALA's actor-critic (Espeholt et al. 2018, section 4.2; discount 1).

    Targets and advantages are those of the policy and the critic of this very update, from the
    rollout's rewards and the log-probs of whichever policy sampled it; its own advantages and
    values are not looked at.

    Attributes:
        value_coefficient: weight of the value loss, (v - target)**2 / 2.
        clip_rho: largest weight of a temporal difference.
        clip_trace: largest weight of a trace.
    """

    value_coefficient: float = 0.5
    clip_rho: float = 1.0
    clip_trace: float = 1.0

    def terms(self, log_probs, values, batch):
        mask = batch.response_mask
        current, held_values = ops.stop_gradient(log_probs), ops.stop_gradient(values)
        held_values = ops.where(mask, held_values, 0.0)
        continues = ops.pad(ops.cast(mask, "float32")[:, 1:], ((0, 0), (0, 1)))
        corrections = vtrace(
            ops.where(mask, current, 0.0),
            ops.where(mask, batch.log_probs, 0.0),
            ops.where(mask, batch.rewards, 0.0),
            ops.pad(held_values, ((0, 0), (0, 1))),
            continues,
            self.clip_rho,
            self.clip_trace,
        )
        targets = held_values + corrections
        next_targets = ops.pad(targets[:, 1:], ((0, 0), (0, 1)))
        ratios = probability_ratio(current, ops.stop_gradient(batch.log_probs))
        weights = ops.minimum(ratios, self.clip_rho)
        advantages = weights * (batch.rewards + continues * next_targets - held_values)
        policy_loss = policy_gradient_loss(log_probs, advantages)
        value_error = ops.square(values - targets)
        return policy_loss + self.value_coefficient * 0.5 * value_error, {
            "policy_loss": policy_loss,
            "value_loss": 0.5 * value_error,
            "value_error": value_error,
            "importance_weight": weights,
        }
