"""Truncated importance sampling: CISPO, and the policy gradient from an older policy's rollouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from keras import ops

from tfalign.functional.importance import token_log_ratio
from tfalign.functional.losses import truncated_policy_loss
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.types import Array, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class TruncatedImportance(PolicyObjective):
    """-sg(min(rho, cap)) A log pi, in mean over tokens (CISPO: MiniMax 2025, eq. 4).

    With the advantages of a group it is CISPO. With any others it corrects REINFORCE for rollouts
    that an older policy made: a token's own ratio makes up for how it was chosen, the ratio of the
    rest of the response for what followed too. The cap bounds the variance, and is a bias.

    Attributes:
        cap: largest ratio a token counts with. MiniMax give no number; 5 is that of Khatri et al.
            2025, "The art of scaling reinforcement learning compute for LLMs".
        log_ratio: of ``functional.importance``.
    """

    cap: float = 5.0
    log_ratio: Callable = token_log_ratio

    def terms(
        self, log_probs: Array, values: Array | None, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        del values
        log_ratios = self.log_ratio(log_probs, batch.log_probs, batch.response_mask)
        policy_loss = truncated_policy_loss(log_probs, log_ratios, batch.advantages, self.cap)
        capped = log_ratios > float(np.log(self.cap))
        return policy_loss, {
            "policy_loss": policy_loss,
            "clip_fraction": ops.cast(capped, "float32"),
        }
