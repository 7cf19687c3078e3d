"""Truncated importance sampling: CISPO, and the policy gradient from an older policy's rollouts."""

from __future__ import annotations

import dataclasses

import numpy as np
from keras import ops

from tfalign.functional.losses import truncated_policy_loss
from tfalign.objectives.policy_objective import PolicyObjective


@dataclasses.dataclass(frozen=True, kw_only=True)
class TruncatedImportance(PolicyObjective):
    """-sg(min(rho, cap)) A log pi, in mean over tokens (CISPO: MiniMax 2025, eq. 4).

    With the advantages of a group it is CISPO; with any others it corrects REINFORCE for rollouts
    that an older policy made. The cap bounds the variance and is the only bias but that of taking
    the ratio token by token.

    Attributes:
        cap: largest ratio a token counts with. MiniMax give no number; 5 is that of Khatri et al.
            2025, "The art of scaling reinforcement learning compute for LLMs".
    """

    cap: float = 5.0

    def terms(self, log_probs, values, batch):
        del values
        policy_loss = truncated_policy_loss(log_probs, batch.log_probs, batch.advantages, self.cap)
        capped = log_probs - batch.log_probs > float(np.log(self.cap))
        return policy_loss, {
            "policy_loss": policy_loss,
            "clip_fraction": ops.cast(capped, "float32"),
        }
