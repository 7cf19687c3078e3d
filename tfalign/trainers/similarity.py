"""Sentence embeddings whose cosine is how much two sentences mean the same."""

from __future__ import annotations

from typing import Any

from tfalign.data import SimilarityRecord, encode_similarities
from tfalign.evaluation.statistics import spearman
from tfalign.models import SentenceEncoder
from tfalign.objectives import SentenceSimilarity, cosine_of_pairs
from tfalign.trainers.encoder_options import SimilarityOptions
from tfalign.trainers.encoders import EncoderTrainer


class SimilarityTrainer(EncoderTrainer):
    """Fine-tunes an encoder to embed sentences (Reimers and Gurevych 2019); ``measure`` says what it is worth
    as it is, without training.

    An embedding is the mean of the last states over real tokens.

    Data are records with "first", "second" and "score", from 0 to ``highest``::

        trainer = SimilarityTrainer("minilm", "pairs.jsonl", run_dir="runs/similarity")
        trainer.measure()["spearman"]
        trainer.train()

    Args: see ``EncoderTrainer``; options are a ``SimilarityOptions``.
    """

    options_class = SimilarityOptions
    default_stage = "similarity"
    kind = SimilarityRecord

    def _new_model(self, backbone, train, test):
        return SentenceEncoder(backbone)

    def _new_objective(self):
        return SentenceSimilarity()

    def _encode(self, records):
        options = self.options
        return encode_similarities(records, self.tokenizer, options.highest, options.length)

    def _columns(self):
        return sorted({min(32, self.options.length), self.options.length})

    @property
    def _saved_model(self):
        return self.model.backbone

    def measure(self) -> dict[str, Any]:
        """Spearman's rank correlation of cosines with the held-out pairs' scores."""
        test = self.test_examples
        if test is None:
            return {"pairs": 0}
        cosines = self._outputs(cosine_of_pairs)
        return {"spearman": spearman(cosines, test.similarity), "pairs": len(test)}
