"""Link prediction: what embeddings of a knowledge graph are trained on."""

from __future__ import annotations

import dataclasses
import math

from keras import ops

from tfalign.applications.knowledge.embedding import KnowledgeEmbedding, Questions
from tfalign.functional.random import uniform
from tfalign.types import Array, Metrics


@dataclasses.dataclass(frozen=True)
class LinkPrediction:
    """-log p(tail | head, relation), a softmax over all entities (1-vs-all; Lacroix et al. 2018, section 2).

    Attributes:
        n3: coefficient of the nuclear 3-norm, sum |h|^3 + |r|^3 + |t|^3 over a question's vectors (eq. 6).
    """

    n3: float = 0.0

    def __call__(
        self, model: KnowledgeEmbedding, batch: Questions, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over questions.

        Args:
            model: KnowledgeEmbedding.
            batch: Questions.
            training: bool, whether the regulariser is added.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        vectors = model.vectors(batch.heads, batch.relations)
        tails = ops.take(model.entities, batch.tails, axis=0)
        loss = -ops.sum(self.log_probs(model, batch, vectors, tails))
        if training and self.n3:
            moduli = [model.moduli(vector) for vector in (*vectors, tails)]
            loss = loss + self.n3 * sum(ops.sum(x * x * x) for x in moduli)
        return loss, ops.cast(ops.shape(tails)[0], "float32"), {}

    def log_probs(
        self,
        model: KnowledgeEmbedding,
        batch: Questions,
        vectors: tuple[Array, Array],
        tails: Array,
    ) -> Array:
        """float32[B], nats, of tails with vectors float32[B, W]."""
        scores = model.score(*vectors, ops.convert_to_tensor(model.entities))
        own = ops.take_along_axis(scores, ops.cast(batch.tails, "int32")[:, None], axis=1)[:, 0]
        return own - ops.logsumexp(scores, axis=-1)


@dataclasses.dataclass(frozen=True)
class SampledLinkPrediction(LinkPrediction):
    """The same with a sampled softmax: some entities, uniformly sampled for each batch, stand for all the others.

    Attributes:
        negatives: how many.
        seed: int in [0, 2**32). Which are sampled follows from it and the batch.
    """

    negatives: int = 1000
    seed: int = 0

    def log_probs(
        self,
        model: KnowledgeEmbedding,
        batch: Questions,
        vectors: tuple[Array, Array],
        tails: Array,
    ) -> Array:
        numbers = ops.arange(self.negatives, dtype="int32")
        of_batch = (
            ops.sum(ops.cast(batch.tails, "int32")) + ops.cast(batch.heads[0], "int32") * 7919
        )
        sampled = uniform(self.seed, numbers, of_batch) * model.num_entities
        sampled = ops.minimum(ops.cast(sampled, "int32"), model.num_entities - 1)
        others = model.score(*vectors, ops.take(model.entities, sampled, axis=0))
        others = ops.where(sampled == ops.cast(batch.tails, "int32")[:, None], -1e30, others)
        weight = math.log(model.num_entities / self.negatives)
        own = model.score(*vectors, tails[:, None])[:, 0]
        return own - ops.logaddexp(own, ops.logsumexp(others, axis=-1) + weight)
