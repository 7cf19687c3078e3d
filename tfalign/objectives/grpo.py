"""PPO's clipped surrogate without a critic."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keras import ops

from tfalign.functional.aggregation import sequence_mean
from tfalign.functional.losses import clip_is_active, clipped_policy_loss
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.types import Array, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRPO(PolicyObjective):
    """-min(rho A, clip(rho) A), in mean over each response's tokens, plus beta k3 (Shao et al. 2024,
    eq. 3; beta of their section 4.2).

    Its variants differ in ``aggregate``, ``clip_high`` and ``kl_coefficient``: see
    ``training.algorithms``.

    Attributes:
        clip: allowed deviation of the probability ratio from 1.
        clip_high: allowed deviation upwards; None means clip (DAPO, Yu et al. 2025: 0.28).
    """

    clip: float = 0.2
    clip_high: float | None = None
    kl_coefficient: float = 0.04
    aggregate: Callable = sequence_mean

    def terms(
        self, log_probs: Array, values: Array | None, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        del values
        given = (log_probs, batch.log_probs, batch.advantages, self.clip, self.clip_high)
        policy_loss = clipped_policy_loss(*given)
        clipped = ops.cast(clip_is_active(*given), "float32")
        return policy_loss, {"policy_loss": policy_loss, "clip_fraction": clipped}
