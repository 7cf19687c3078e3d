"""Sequence likelihood calibration with a reference."""

from __future__ import annotations

import dataclasses

from tfalign.functional.preference_losses import hinge_loss
from tfalign.objectives.pair_objective import PairObjective
from tfalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class SLiC(PairObjective):
    """max(0, 1 - beta h), h the gap of the log-ratios to a reference (Zhao et al. 2023, in the
    normalised form of Liu et al. 2024, RSO).

    Attributes:
        beta: one over the gap that is enough.
    """

    beta: float = 0.1

    def loss(self, gaps: Array) -> Array:
        return hinge_loss(gaps, self.beta)
