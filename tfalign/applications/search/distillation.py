"""A student whose vectors of texts, and of their translations, are a teacher's of the texts (Reimers and Gurevych 2020)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfalign.applications.search.encoders import Encoder
from tfalign.data import CompletionRecord
from tfalign.data.annotated import between_ends
from tfalign.data.encoding import padding_id
from tfalign.data.examples import Examples, Ragged
from tfalign.evaluation.retrieval import recall_at
from tfalign.models import SentenceEncoder
from tfalign.options import option, option_record, record
from tfalign.trainers.encoder_options import EncoderOptions
from tfalign.trainers.encoders import EncoderTrainer
from tfalign.trainers.options import RunOptions, UpdateOptions
from tfalign.types import Array, Metrics


class TextsWithVectors(NamedTuple):
    """Texts, and the vectors that they shall have."""

    token_ids: Array  # int32[B, T], right-padded
    padding_mask: Array  # bool[B, T]
    vectors: Array  # float32[B, W], of length 1


class VectorDistillation:
    """|student's vector - teacher's vector|^2, both of length 1 (Reimers and Gurevych 2020, eq. 1)."""

    def __call__(
        self, model: SentenceEncoder, batch: TextsWithVectors, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over texts.

        Args:
            model: SentenceEncoder.
            batch: TextsWithVectors.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics): "cosine", of the two vectors.
        """
        vectors = model(batch.token_ids, padding_mask=batch.padding_mask, training=training)
        count = ops.cast(ops.shape(vectors)[0], "float32")
        cosine = ops.sum(vectors * batch.vectors)
        return ops.sum(ops.square(vectors - batch.vectors)), count, {"cosine": (cosine, count)}


@dataclasses.dataclass(frozen=True)
class VectorExamples(Examples):
    """Texts with vectors.

    Attributes:
        tokens: Ragged of N.
        vectors: float32[N, W].
    """

    tokens: Ragged
    vectors: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.tokens.tokens, self.tokens.lengths, self.vectors)

    def batch(self, indices: np.ndarray, columns: int) -> TextsWithVectors:
        padded = self.tokens.padded(indices, columns, self.pad_id)
        return TextsWithVectors(*padded, self.vectors[indices])


@option_record
class DistillationOptions(EncoderOptions):
    """Options of ``DistillationTrainer``."""

    run: RunOptions = record(RunOptions(epochs=8, log_every=20, save_every=500))
    update: UpdateOptions = record(UpdateOptions(batch_size=64, learning_rate=5e-4))
    length: int = option(
        64, "Maximum sequence length, tokens; longer texts are truncated.", at_least=1
    )
    sources: bool = option(
        True, "Learn the teacher's language as well; else that of the translations alone."
    )


class DistillationTrainer(EncoderTrainer):
    """Trains an encoder on a teacher's vectors.

    Data are records of a text as "prompt" and its translation as "completion"; the teacher reads the text alone::

        trainer = DistillationTrainer(student, pairs, teacher=TextEncoder("minilm"), run_dir="runs/zh")
        trainer.train()
        trainer.results  # how often the held-out text nearest to a translation is its own, and the other way round

    Args:
        model: a directory of an encoder, or what ``tfalign.load`` returned; its width is that of the teacher.
        data, held_out, run_dir, stage, callbacks, changes: see ``EncoderTrainer``; options are a
            ``DistillationOptions``.
        teacher: texts -> float32[N, W], of length 1.

    Raises:
        ValueError: if the teacher's vectors have another width, or are not finite.
    """

    options_class = DistillationOptions
    default_stage = "distillation"
    kind = CompletionRecord

    def __init__(self, model: Any, data: Any, *, teacher: Encoder, **settings: Any) -> None:
        self.teacher = teacher
        super().__init__(model, data, **settings)

    def _new_model(self, backbone, train, test):
        return SentenceEncoder(backbone)

    def _new_objective(self):
        return VectorDistillation()

    def _encode(self, records):
        """Translations, all of them, and behind them the texts."""
        vectors = self._vectors([record.prompt for record in records])
        texts = [record.completion for record in records]
        if self.options.sources:
            texts += [record.prompt for record in records]
        return VectorExamples(
            records=tuple(records) * (len(texts) // len(records)),
            bad=(),
            pad_id=padding_id(self.tokenizer),
            tokens=between_ends(texts, self.tokenizer, self.options.length),
            vectors=np.tile(vectors, (len(texts) // len(records), 1)),
        )

    def _vectors(self, texts):
        vectors = np.asarray(self.teacher(texts), "float32")
        needed = len(texts), self.model.config.width
        if vectors.shape != needed or not np.isfinite(vectors).all():
            raise ValueError(
                f"The teacher's vectors must be finite, float[N, {needed[1]}] as the student's."
                f" Received: shape {vectors.shape} of {needed[0]} texts"
            )
        return vectors

    def _columns(self):
        length = self.options.length
        return sorted({min(columns, length) for columns in (16, 32, length)})

    @property
    def _saved_model(self):
        return self.model.backbone

    def measure(self) -> dict[str, Any]:
        """Of held-out pairs: the mean cosine of translations with the teacher's vectors of the texts, and top-1 of
        translations among texts ("to_source") and of texts among translations ("to_translation")."""
        test = self.test_examples
        if test is None:
            return {"pairs": 0}
        outputs = self._outputs(
            lambda model, batch: model(batch.token_ids, padding_mask=batch.padding_mask)
        )
        count = len(test) // (2 if self.options.sources else 1)
        return bitext_retrieval(np.array(outputs)[:count], test.vectors[:count])


def bitext_retrieval(translations: Sequence, sources: Sequence) -> dict[str, float]:
    """How well translations and texts find each other.

    Args:
        translations, sources: float[N, W], row i of each belongs to row i of the other.

    Returns:
        "pairs" N, "cosine" of pairs, and the fractions whose nearest neighbour in the other language is the own one.

    >>> bitext_retrieval([[1.0, 0.0], [0.6, 0.8]], [[0.8, 0.6], [0.0, 1.0]])["to_source"]
    0.5
    """
    scores = np.asarray(translations) @ np.asarray(sources).T
    own = [{row: 1.0} for row in range(len(scores))]
    return {
        "pairs": len(scores),
        "cosine": float(np.diagonal(scores).mean()),
        "to_source": float(recall_at(scores.argmax(axis=1)[:, None], own, 1).mean()),
        "to_translation": float(recall_at(scores.argmax(axis=0)[:, None], own, 1).mean()),
    }
