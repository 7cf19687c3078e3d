"""Group sequence policy optimisation: one ratio a response."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keras import ops

from tfalign.functional.aggregation import sequence_mean
from tfalign.functional.importance import sequence_log_ratio
from tfalign.functional.losses import clip_is_active, clipped_policy_loss
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.types import Array, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class GSPO(PolicyObjective):
    """-min(s A, clip(s) A) with s = (pi(y) / pi_old(y))**(1 / |y|) (Zheng et al. 2025, eq. 5; the
    clips of their section 5.1).

    A response is kept or clipped as a whole, as it was scored as a whole; s moves far less than the
    ratio of a token, hence the narrow clips.

    Attributes:
        clip: allowed deviation of s from 1.
        clip_high: allowed deviation upwards.
    """

    clip: float = 3e-4
    clip_high: float = 4e-4
    aggregate: Callable = sequence_mean

    def terms(
        self, log_probs: Array, values: Array | None, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        del values
        log_ratios = sequence_log_ratio(log_probs, batch.log_probs, batch.response_mask)
        unmoved = ops.zeros_like(log_ratios)
        given = (log_ratios, unmoved, batch.advantages, self.clip, self.clip_high)
        policy_loss = clipped_policy_loss(*given)
        clipped = ops.cast(clip_is_active(*given), "float32")
        return policy_loss, {"policy_loss": policy_loss, "clip_fraction": clipped}
