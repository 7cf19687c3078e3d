"""Direct preference optimisation."""

from __future__ import annotations

import dataclasses

from tfalign.functional.preference_losses import dpo_loss
from tfalign.objectives.pair_objective import PairObjective
from tfalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPO(PairObjective):
    """-log sigma(beta h), h the gap of the log-ratios to a reference (Rafailov et al. 2023, eq. 7).

    With ``label_smoothing`` cDPO (Mitchell 2023), with ``nll_coefficient`` RPO (Pang et al. 2024).

    Attributes:
        beta: strength of the KL constraint (their section 6: 0.1; 0.5 for summaries).
        label_smoothing: probability that a label is wrong.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0

    def loss(self, gaps: Array) -> Array:
        return dpo_loss(gaps, self.beta, self.label_smoothing)
