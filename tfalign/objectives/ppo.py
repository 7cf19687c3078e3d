"""Proximal policy optimisation for language models."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.losses import clip_is_active, clipped_policy_loss, clipped_value_loss
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.types import Array, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPO(PolicyObjective):
    """Clipped policy and value losses, in mean over response tokens (Schulman et al. 2017, eq. 9;
    the defaults are those of Ziegler et al. 2019 as listed in "The N implementation details of
    RLHF with PPO").

    Attributes:
        clip: allowed deviation of the probability ratio from 1.
        value_clip: allowed deviation of a value from the one at sampling time.
        value_coefficient: weight of the value loss.
    """

    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1

    def terms(
        self, log_probs: Array, values: Array, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        given = (log_probs, batch.log_probs, batch.advantages, self.clip)
        policy_loss = clipped_policy_loss(*given)
        value_loss = clipped_value_loss(values, batch.values, batch.returns, self.value_clip)
        return policy_loss + self.value_coefficient * value_loss, {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "clip_fraction": ops.cast(clip_is_active(*given), "float32"),
            "value_error": ops.square(values - batch.returns),
        }
