"""Simple preference optimisation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfalign.functional.preference_losses import simpo_loss
from tfalign.objectives.pair_objective import PairObjective, sides
from tfalign.objectives.response_log_probs import ResponseLogProbs
from tfalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimPO(PairObjective):
    """-log sigma(beta h - gamma), h the gap of the log-probs a token; no reference (Meng et al. 2024,
    eq. 6).

    Attributes:
        beta: their 2.0 to 2.5; 2.5 for Llama 3.
        gamma: their gamma / beta is 0.3 to 0.55; 0.55 here.
    """

    beta: float = 2.5
    gamma: float = 1.375
    needs_reference: ClassVar[bool] = False

    def gap(self, responses: ResponseLogProbs, ref_log_probs: Array) -> Array:
        del ref_log_probs
        chosen, rejected = sides(responses.means)
        return chosen - rejected

    def loss(self, gaps: Array) -> Array:
        return simpo_loss(gaps, self.beta, self.gamma)
