"""Classification of texts by a fine-tuned encoder."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tfalign.data import ClassRecord, encode_classes
from tfalign.evaluation.classes import score_classes
from tfalign.models import SequenceClassifier
from tfalign.objectives import Classification
from tfalign.objectives.classification import class_log_probs
from tfalign.trainers.encoder_options import ClassificationOptions
from tfalign.trainers.encoders import EncoderTrainer


class ClassificationTrainer(EncoderTrainer):
    """Fine-tunes an encoder to classify texts.

    The classes are the training records' labels, in alphabetical order; the saved model's config.json names
    them. A text of more than ``length`` tokens is truncated, or split into ``windows``: each learns the text's
    class, and the sum of their log-probabilities decides it.

    Data are records with "text" and "label"::

        trainer = ClassificationTrainer("bert", "mine.jsonl", run_dir="runs/classify", steps=250)
        trainer.train()
        trainer.results["accuracy"]

    Args: see ``EncoderTrainer``; options are a ``ClassificationOptions``.

    Attributes:
        classes: list of str.
    """

    options_class = ClassificationOptions
    default_stage = "classify"
    kind = ClassRecord

    def _new_model(self, backbone, train, test):
        self.classes = sorted({record.label for record in train})
        return SequenceClassifier(backbone, len(self.classes), dropout=backbone.config.dropout)

    def _new_objective(self):
        return Classification()

    def _encode(self, records):
        options = self.options
        return encode_classes(
            records, self.tokenizer, self.classes, options.length, options.windows
        )

    def measure(self) -> dict[str, Any]:
        """Accuracy on whole held-out texts with Wilson's 95 % interval, beside the fraction that the most
        common training class has of them."""
        train, test = self.train_examples, self.test_examples
        counts = {"train": int(train.texts[-1]) + 1, "test": 0, "classes": len(self.classes)}
        if test is None:
            return counts
        scores = score_classes(self._outputs(class_log_probs), test.texts, test.labels)
        _, first = np.unique(test.texts, return_index=True)
        most_common = Counter(train.labels.tolist()).most_common(1)[0][0]
        accuracy = scores.accuracy
        return {
            "accuracy": accuracy.value,
            "ci95": [accuracy.low, accuracy.high],
            "most_common_class": float(np.mean(test.labels[first] == most_common)),
        } | (counts | {"test": scores.texts})

    def save(self) -> None:
        super().save(labels=self.classes)
