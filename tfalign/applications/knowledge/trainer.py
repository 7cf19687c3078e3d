"""Trains embeddings of a knowledge graph."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfalign.applications.knowledge.embedding import (
    KnowledgeEmbedding,
    LinkPredictor,
    Questions,
)
from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.applications.knowledge.objectives import LinkPrediction, SampledLinkPrediction
from tfalign.applications.knowledge.ranking import ranking_metrics
from tfalign.applications.knowledge.scores import SCORES
from tfalign.data import BatchStream
from tfalign.data.examples import Examples
from tfalign.files import new_directory
from tfalign.options import option, option_record, record
from tfalign.trainers.evaluated import Criterion
from tfalign.trainers.options import EvaluationOptions, RunOptions, TrainingOptions, UpdateOptions
from tfalign.trainers.supervised import BatchTrainer
from tfalign.training.run_directory import RunDirectory


@option_record
class LinkPredictionOptions(TrainingOptions):
    """Options of ``LinkPredictionTrainer``; the recipe is that of Lacroix et al. 2018."""

    run: RunOptions = record(RunOptions(epochs=100, log_every=100, save_every=1000))
    evaluation: EvaluationOptions = record(EvaluationOptions())
    update: UpdateOptions = record(
        UpdateOptions(
            batch_size=1000,
            optimizer="adagrad",
            learning_rate=0.1,
            warmup_steps=0,
            decay="constant",
            final_fraction=0.0,
            weight_decay=0.0,
            clip_norm=100.0,
        )
    )
    score: str = option("complex", "How well a tail fits a head and a relation.", tuple(SCORES))
    width: int = option(400, "Numbers in an entity's vector; a complex one is two.", at_least=2)
    n3: float = option(0.05, "Coefficient of the nuclear 3-norm regulariser.", at_least=0)
    negatives: int | None = option(
        None, "Entities sampled for each batch instead of all; none: all.", at_least=1
    )


@dataclasses.dataclass(frozen=True)
class QuestionExamples(Examples):
    """Questions with their answers, ``records`` int32[N, 3], for a ``BatchStream``."""

    @property
    def lengths(self) -> np.ndarray:
        return np.ones(len(self), "int32")

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.records,)

    def batch(self, indices: np.ndarray, columns: int) -> Questions:
        return Questions(*self.records[indices].T.astype("int32"))


class LinkPredictionTrainer(BatchTrainer):
    """Trains embeddings on a graph's training triples, forwards and backwards.

    The held-out metric is the filtered mean reciprocal rank of the validation triples.

    >>> graph = KnowledgeGraph.of([("a", "above", "b"), ("b", "above", "c")])
    >>> trainer = LinkPredictionTrainer(graph, epochs=1, batch_size=4, width=8)
    >>> trainer.train()["loss"] > 0
    True

    Args:
        graph: KnowledgeGraph.
        options, run_dir, stage, callbacks, changes: see ``Trainer``; options are a ``LinkPredictionOptions``.

    Attributes:
        model: KnowledgeEmbedding.
    """

    options_class = LinkPredictionOptions
    default_stage = "link_prediction"
    criterion = Criterion("eval_mrr", -1.0, "highest mean reciprocal rank")

    def __init__(
        self,
        graph: KnowledgeGraph,
        *,
        options: LinkPredictionOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        start = {"entities": len(graph.entities), "triples": len(graph.train)}
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        self.graph = graph
        with self._building():
            self._build()

    def _build(self):
        options, graph = self.options, self.graph
        self.model = KnowledgeEmbedding(
            len(graph.entities), graph.num_relations, options.width, options.score
        )
        objective = LinkPrediction(options.n3)
        if options.negatives is not None:
            seed = options.run.seed
            objective = SampledLinkPrediction(options.n3, options.negatives, seed)
        questions = QuestionExamples(graph.questions("train"), bad=(), pad_id=0)
        batches = BatchStream(questions, options.update.batch_size, [1], seed=options.run.seed)
        self._learn(self.model, objective, batches, graph.valid, len(questions))
        predictor = LinkPredictor(self.model)
        self.evaluate = lambda _: {
            f"eval_{name}": value
            for name, value in ranking_metrics(predictor.ranks(graph, "valid")).items()
        }

    def save(self) -> None:
        with new_directory(self.model_directory) as writing:
            self.model.save(writing / "embedding.keras")
