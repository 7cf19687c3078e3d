"""Trains a classifier of relations from random weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfalign.applications.knowledge.extraction import RelationExtractor
from tfalign.applications.knowledge.relation_classifier import (
    RelationClassification,
    RelationClassifier,
)
from tfalign.applications.knowledge.relation_examples import (
    NUM_KINDS,
    encode_relations,
    train_marked_word_piece,
)
from tfalign.applications.knowledge.relations import RelationRecord, micro_scores
from tfalign.data import BatchStream
from tfalign.models import BERTConfig
from tfalign.options import option, option_record, record
from tfalign.trainers.evaluated import Criterion
from tfalign.trainers.options import RunOptions, TrainingOptions, UpdateOptions
from tfalign.trainers.supervised import BatchTrainer
from tfalign.training.run_directory import RunDirectory


@option_record
class RelationOptions(TrainingOptions):
    """Options of ``RelationTrainer``; the defaults are those of its result on SanWen, see docs/results/knowledge.md."""

    run: RunOptions = record(RunOptions(epochs=7, log_every=50, save_every=1000))
    update: UpdateOptions = record(
        UpdateOptions(batch_size=64, learning_rate=1e-3, warmup_steps=100, final_fraction=0.05)
    )
    width: int = option(128, "Hidden size.", at_least=1)
    num_layers: int = option(0, "Blocks of the encoder; 0: its embeddings and n-grams.", at_least=0)
    num_heads: int = option(4, "Attention heads of a block.", at_least=1)
    n: int = option(3, "Tokens of an n-gram, odd.", at_least=1)
    dropout: float = option(0.5, "Dropout rate before the classifier.", at_least=0, below=1)
    token_dropout: float = option(
        0.1, "Rate at which tokens are dropped as a whole.", at_least=0, below=0.5
    )
    vocab_size: int = option(6000, "Vocabulary size of the tokenizer that is trained.", at_least=1)
    length: int = option(
        104, "Maximum sequence length, tokens; longer texts are truncated.", at_least=8
    )
    none: str = option("unknown", "Name of no relation.")


class RelationTrainer(BatchTrainer):
    """Trains a ``RelationClassifier`` and a tokenizer on records from random weights.

    The classes are the training records' relations, in alphabetical order. The held-out metric is F1 over the pairs
    that have a relation, see ``micro_scores``.

    >>> met = [RelationRecord("Ann met Bob", (0, 3), (8, 11), "Social")] * 4
    >>> trainer = RelationTrainer(met, met, epochs=1, batch_size=2, width=8, warmup_steps=1)
    >>> trainer.train()["loss"] >= 0
    True

    Args:
        train, valid: sequences of RelationRecord.
        options, run_dir, stage, callbacks, changes: see ``Trainer``; options are a ``RelationOptions``.

    Attributes:
        model: RelationClassifier.
        tokenizer: Tokenizer.
        extractor: RelationExtractor of both, as they are now.
    """

    options_class = RelationOptions
    default_stage = "relations"
    criterion = Criterion("eval_f1", -1.0, "highest F1")

    def __init__(
        self,
        train: Sequence[RelationRecord],
        valid: Sequence[RelationRecord] = (),
        *,
        options: RelationOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        start = {"train": len(train), "valid": len(valid)}
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        with self._building():
            self._build(train, list(valid))

    def _build(self, train, valid):
        options = self.options
        self.classes = sorted({record.relation for record in train})
        texts = sorted({record.text for record in train})
        self.tokenizer = train_marked_word_piece(texts, options.vocab_size)
        self.model = RelationClassifier(
            BERTConfig(
                self.tokenizer.vocab_size,
                options.width,
                options.num_layers,
                options.num_heads,
                max_positions=options.length,
                num_token_types=NUM_KINDS,
                initializer_range=0.05,
            ),
            len(self.classes),
            options.n,
            options.dropout,
            options.token_dropout,
        )
        self.extractor = RelationExtractor(
            self.model, self.tokenizer, self.classes, options.none, options.length
        )
        examples = encode_relations(train, self.tokenizer, self.classes, options.length)
        batches = BatchStream(
            examples,
            options.update.batch_size,
            self.extractor.columns,
            seed=options.run.seed,
        )
        self._learn(self.model, RelationClassification(), batches, valid, len(examples))
        self.evaluate = lambda records: {
            f"eval_{name}": value for name, value in self.scores(records).items()
        }

    def scores(self, records: Sequence[RelationRecord]) -> dict[str, float]:
        """Precision, recall and F1 of the model as it is now, see ``micro_scores``."""
        likeliest = np.argmax(self.extractor.log_probs(records), axis=1)
        predicted = [self.classes[number] for number in likeliest]
        return micro_scores([record.relation for record in records], predicted, self.options.none)

    def save(self) -> None:
        self.extractor.save(self.model_directory)
