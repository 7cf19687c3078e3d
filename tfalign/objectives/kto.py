"""Kahneman-Tversky optimisation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras import ops

from tfalign.functional.masking import masked_sum
from tfalign.functional.preference_losses import kto_loss, kto_reference_point
from tfalign.models import CausalLM
from tfalign.objectives.response_log_probs import response_log_probs
from tfalign.types import Array, LabelledResponses, Metrics, RankedResponses


@dataclasses.dataclass(frozen=True, kw_only=True)
class KTO:
    """KTO's loss of single responses labelled desirable or undesirable (Ethayarajh et al. 2024, section 4.1).

    The reference point is that of the batch at hand: of each micro-batch under accumulation. A
    response without a token counts nowhere.

    Attributes:
        beta: how soon gains and losses are felt less.
        desirable_weight, undesirable_weight: see ``kto_loss``.
        chunk: see ``models.read_out.read_out``.
        needs_reference: the batch must carry a reference's log-probs.
    """

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    chunk: int | None = None
    needs_reference: ClassVar[bool] = True

    def __call__(
        self, model: CausalLM, batch: LabelledResponses, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over responses.

        Args:
            model: CausalLM.
            batch: LabelledResponses.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics): "accuracy" (fraction of responses whose
            log-ratio is above the reference point just when they are desirable), "kl" (the
            reference point, nats), and the mean log-ratios of both kinds.
        """
        own, own_present = self._log_ratios(model, batch, 0, training)
        # On its own, so that no backward pass is run through it.
        others, others_present = self._log_ratios(model, batch, 1, training)
        reference_point = kto_reference_point(others, others_present)
        loss = kto_loss(
            own,
            reference_point,
            batch.desirable,
            self.beta,
            self.desirable_weight,
            self.undesirable_weight,
        )
        desirable = ops.logical_and(own_present, batch.desirable)
        undesirable = ops.logical_and(own_present, ops.logical_not(batch.desirable))
        right = ops.cast(ops.equal(own > reference_point, batch.desirable), "float32")
        responses = _count(own_present)
        metrics = {
            "accuracy": (masked_sum(right, own_present), responses),
            "kl": (reference_point * responses, responses),
            "desirable_log_ratio": (masked_sum(own, desirable), _count(desirable)),
            "undesirable_log_ratio": (masked_sum(own, undesirable), _count(undesirable)),
        }
        return masked_sum(loss, own_present), responses, metrics

    def _log_ratios(self, model, batch, column, training):
        """log pi / pi_ref of one of the two responses, float32[B], and which there are, bool[B]."""
        one = RankedResponses(*(field[:, column : column + 1] for field in batch[:4]))
        responses = response_log_probs(model, one, training, chunk=self.chunk)
        log_ratios = responses.totals - ops.stop_gradient(one.ref_log_probs)
        return log_ratios[:, 0], responses.lengths[:, 0] > 0


def _count(present):
    return ops.sum(ops.cast(present, "float32"))
