"""Contrastive preference optimisation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfalign.functional.preference_losses import dpo_loss
from tfalign.objectives.pair_objective import PairObjective, sides
from tfalign.objectives.response_log_probs import ResponseLogProbs
from tfalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class CPO(PairObjective):
    """DPO's loss with a uniform reference, and the chosen response's likelihood (Xu et al. 2024,
    eq. 3 to 5).

    Attributes:
        beta: slope of the logistic; their 0.1.
    """

    beta: float = 0.1
    nll_coefficient: float = 1.0
    needs_reference: ClassVar[bool] = False

    def gap(self, responses: ResponseLogProbs, ref_log_probs: Array) -> Array:
        del ref_log_probs
        chosen, rejected = sides(responses.totals)
        return chosen - rejected

    def loss(self, gaps: Array) -> Array:
        return dpo_loss(gaps, self.beta)
