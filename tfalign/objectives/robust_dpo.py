"""Direct preference optimisation with a known rate of wrong labels."""

from __future__ import annotations

import dataclasses

from tfalign.functional.preference_losses import robust_dpo_loss
from tfalign.objectives.pair_objective import PairObjective
from tfalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustDPO(PairObjective):
    """DPO's loss, unbiased where a label is wrong with probability s (Chowdhury et al. 2024).

    Attributes:
        beta: strength of the KL constraint.
        label_smoothing: s; their experiments have 0.1 to 0.4.
    """

    beta: float = 0.1
    label_smoothing: float = 0.1

    def loss(self, gaps: Array) -> Array:
        return robust_dpo_loss(gaps, self.beta, self.label_smoothing)
