"""Direct preference optimisation on the policy's own responses."""

from __future__ import annotations

import dataclasses

from tfalign.models import Actor
from tfalign.objectives.dpo import DPO
from tfalign.types import Array, Metrics, RankedResponses


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineDPO(DPO):
    """DPO's loss of pairs that the policy itself sampled and a reward ranked (Guo et al. 2024).

    Its model is an Actor, and dropout stays off: the sampling policy had none.
    """

    def __call__(
        self, model: Actor, batch: RankedResponses, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """As ``PairObjective``, of an Actor."""
        del training
        return super().__call__(model.policy, batch, training=False)
