"""Tagging of words, such as named entities, by a fine-tuned encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from tfalign.data import TaggedRecord, encode_tags
from tfalign.evaluation.entities import score_entities
from tfalign.models import TokenClassifier
from tfalign.objectives import Tagging
from tfalign.trainers.encoder_options import TaggingOptions
from tfalign.trainers.encoders import EncoderTrainer

OUTSIDE = "O"


class TaggingTrainer(EncoderTrainer):
    """Fine-tunes an encoder to tag words: named entities.

    A word's tag is predicted at its first token; words beyond ``length`` count as "O". The tags are those of
    all records and "O", in alphabetical order; the saved model's config.json names them.

    Data are records with "words" and "tags" ("O", "B-person", "I-person")::

        trainer = TaggingTrainer("bert", "conll:train.conll::conll:test.conll", run_dir="runs/tag")
        trainer.train()
        trainer.results["f1"]

    Args: see ``EncoderTrainer``; options are a ``TaggingOptions``.

    Attributes:
        tags: list of str.
    """

    options_class = TaggingOptions
    default_stage = "tag"
    kind = TaggedRecord

    def _new_model(self, backbone, train, test):
        self.tags = sorted({tag for record in (*train, *test) for tag in record.tags} | {OUTSIDE})
        return TokenClassifier(backbone, len(self.tags), dropout=backbone.config.dropout)

    def _new_objective(self):
        return Tagging()

    def _encode(self, records):
        return encode_tags(records, self.tokenizer, self.tags, self.options.length)

    def measure(self) -> dict[str, Any]:
        """Precision, recall and F1 of whole held-out entities."""
        test = self.test_examples
        counts = {"train": len(self.train_examples), "test": 0}
        if test is None:
            return counts
        classes = self._outputs(_likeliest)
        predicted = [self._named(index, row) for index, row in enumerate(classes)]
        scores = score_entities(predicted, [record.tags for record in test.records])
        return scores._asdict() | counts | {"test": len(test)}

    def _named(self, index, classes):
        """A tag for every word of a sentence: the one at its first token, "O" where it was truncated."""
        test = self.test_examples
        at_words = np.flatnonzero(test.tags[index] >= 0)
        named = [self.tags[classes[column]] for column in at_words]
        return named + [OUTSIDE] * (len(test.records[index].words) - len(named))

    def save(self) -> None:
        super().save(labels=self.tags)


def _likeliest(model, batch):
    """int[B, T], the likeliest tag at every token."""
    return ops.argmax(model(batch.token_ids, padding_mask=batch.padding_mask), axis=-1)
