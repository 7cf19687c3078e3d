"""Identity preference optimisation."""

from __future__ import annotations

import dataclasses

from tfalign.functional.preference_losses import ipo_loss, log_ratio_gap
from tfalign.objectives.pair_objective import PairObjective, sides
from tfalign.objectives.response_log_probs import ResponseLogProbs
from tfalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class IPO(PairObjective):
    """(h - 1 / (2 beta))**2, h the gap of the log-ratios to a reference (Azar et al. 2023, eq. 17).

    Attributes:
        beta: strength of the KL constraint, their tau.
        per_token: whether log-ratios are means over tokens, as the authors have it for responses of
            different lengths (so TRL reports, whose default it is), or sums, as the paper writes
            them. The fixed point is pi_ref exp(win rate / beta) for sums alone.
    """

    beta: float = 0.1
    per_token: bool = True

    def gap(self, responses: ResponseLogProbs, ref_log_probs: Array) -> Array:
        if not self.per_token:
            return super().gap(responses, ref_log_probs)
        reference = responses._replace(totals=ref_log_probs)
        return log_ratio_gap(*sides(responses.means), *sides(reference.means))

    def loss(self, gaps: Array) -> Array:
        return ipo_loss(gaps, self.beta)
