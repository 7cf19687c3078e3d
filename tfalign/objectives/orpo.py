"""Odds ratio preference optimisation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfalign.functional.preference_losses import dpo_loss, log_odds_ratio
from tfalign.objectives.pair_objective import PairObjective, sides
from tfalign.objectives.response_log_probs import ResponseLogProbs
from tfalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class ORPO(PairObjective):
    """Fine-tuning on the chosen response, with a penalty on the odds of the other (Hong et al. 2024,
    eq. 6): -log p(chosen) - beta log sigma(log odds ratio), all of mean log-probs a token.

    Attributes:
        beta: weight of the odds ratio, their lambda; 0.1 for Mistral.
    """

    beta: float = 0.1
    nll_coefficient: float = 1.0
    needs_reference: ClassVar[bool] = False

    def gap(self, responses: ResponseLogProbs, ref_log_probs: Array) -> Array:
        del ref_log_probs
        return log_odds_ratio(*sides(responses.means))

    def loss(self, gaps: Array) -> Array:
        return self.beta * dpo_loss(gaps, beta=1.0)
