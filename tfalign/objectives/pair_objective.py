"""What the objectives of preference pairs share: one forward pass, the chosen response's likelihood,
pairs that do not count, metrics.

A method's own file says what its gap is and which loss of it.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras import ops

from tfalign.functional.losses import pair_accuracy
from tfalign.functional.masking import masked_sum
from tfalign.functional.preference_losses import log_ratio_gap
from tfalign.models import CausalLM
from tfalign.objectives.response_log_probs import ResponseLogProbs, response_log_probs
from tfalign.types import Array, Metrics, RankedResponses


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairObjective:
    """A loss of the gap between two responses; subclasses define ``loss``, and ``gap`` where it is
    not DPO's.

    A pair one of whose responses has no token counts nowhere.

    Attributes:
        nll_coefficient: weight of the chosen response's -log p, in mean over its tokens.
        temperature: log-probs are those of softmax(logits / temperature), as the reference's are.
        chunk: see ``models.read_out.read_out``.
        needs_reference: whether the batch must carry a reference's log-probs.
    """

    nll_coefficient: float = 0.0
    temperature: float = 1.0
    chunk: int | None = None
    needs_reference: ClassVar[bool] = True

    def gap(self, responses: ResponseLogProbs, ref_log_probs: Array) -> Array:
        """The gap between the two responses that the loss is a function of.

        Args:
            responses: ResponseLogProbs of K = 2.
            ref_log_probs: float32[B, 2].

        Returns:
            float32[B].
        """
        chosen, rejected = sides(responses.totals)
        return log_ratio_gap(chosen, rejected, *sides(ref_log_probs))

    def loss(self, gaps: Array) -> Array:
        """float32[B], of gaps float32[B]."""
        raise NotImplementedError

    def __call__(
        self, model: CausalLM, batch: RankedResponses, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over pairs.

        Args:
            model: CausalLM.
            batch: RankedResponses of K = 2.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics), all in mean over pairs: "accuracy"
            (fraction of positive gaps), "gap", and the log-probs a token of both sides.

        Raises:
            ValueError: if there are not two responses to a prompt.
        """
        if batch.token_ids.shape[1] != 2:
            raise ValueError(
                "A pair is two responses to one prompt. "
                f"Received: {batch.token_ids.shape[1]} responses"
            )
        responses = response_log_probs(model, batch, training, self.temperature, self.chunk)
        gaps = self.gap(responses, batch.ref_log_probs)
        chosen, rejected = sides(responses.means)
        loss = self.loss(gaps)
        if self.nll_coefficient:
            loss = loss - self.nll_coefficient * chosen
        counts = ops.all(responses.lengths > 0, axis=-1)
        pairs = ops.sum(ops.cast(counts, "float32"))
        per_pair = {
            "accuracy": pair_accuracy(gaps, 0.0),
            "gap": gaps,
            "chosen_log_prob": chosen,
            "rejected_log_prob": rejected,
        }
        metrics = {name: (masked_sum(x, counts), pairs) for name, x in per_pair.items()}
        return masked_sum(loss, counts), pairs, metrics


def sides(x: Array) -> tuple[Array, Array]:
    """[B, 2] to (chosen [B], rejected [B])."""
    return x[:, 0], x[:, 1]
