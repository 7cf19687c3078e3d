"""Distillation: a student learns a teacher's whole distribution of every token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keras import ops

from tfalign.functional.kl import full_kl, full_kl_from
from tfalign.functional.masking import masked_sum
from tfalign.models import CausalLM
from tfalign.types import Array, DistilledTexts, Metrics


@dataclasses.dataclass(frozen=True)
class Distillation:
    """The exact divergence of the student's next-token distribution from the teacher's, at every target.

    On given texts with KL(teacher || student) it is Hinton et al.'s (2015) distillation; on texts that the student has
    sampled with KL(student || teacher) that of Gu et al. (2024, MiniLLM), and with ``functional.kl.full_jsd`` GKD
    (Agarwal et al. 2024).

    Attributes:
        divergence: ``(student's logits, teacher's logits, temperature) -> float32[B, T]``: ``full_kl_from`` is
            KL(teacher || student), "forward"; ``full_kl`` KL(student || teacher), "reverse".
        temperature: of both distributions; the loss is multiplied by its square, so that gradients keep their size
            (Hinton et al. 2015, section 2).
    """

    divergence: Callable[..., Array] = full_kl_from
    temperature: float = 1.0

    def __call__(
        self, model: CausalLM, batch: DistilledTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over target tokens.

        Args:
            model: CausalLM, the student; all its logits are held whole.
            batch: DistilledTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics), in mean over targets: both exact divergences, "forward_kl"
            and "reverse_kl", at temperature 1, nats.
        """
        given = {"segment_ids": batch.segment_ids, "training": training}
        hidden = model.backbone(batch.token_ids, **given)[:, :-1]
        logits, teacher = model.logits(hidden), ops.stop_gradient(batch.teacher_logits[:, :-1])
        mask = batch.loss_mask[:, 1:]
        weight = ops.sum(ops.cast(mask, "float32"))
        loss = self.temperature**2 * self.divergence(logits, teacher, self.temperature)
        shown = ops.stop_gradient(logits)
        measured = {
            "forward_kl": full_kl_from(shown, teacher),
            "reverse_kl": full_kl(shown, teacher),
        }
        metrics = {name: (masked_sum(one, mask), weight) for name, one in measured.items()}
        return masked_sum(loss, mask), weight, metrics
