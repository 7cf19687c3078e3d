"""Training on examples with held-out means: what all but on-policy trainers do."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from tfalign.data import BatchStream
from tfalign.pretrained import Pretrained
from tfalign.trainers.base import name_of, names_of_data
from tfalign.trainers.data import Data, encoded, split_records
from tfalign.trainers.evaluated import EvaluatedTrainer
from tfalign.trainers.optimizers import make_optimizer
from tfalign.trainers.options import SupervisedOptions, TrainingOptions
from tfalign.training.batch_work import operations_of, tokens_of
from tfalign.training.evaluator import Evaluator
from tfalign.training.learner import Learner
from tfalign.training.run_directory import RunDirectory


class BatchTrainer(EvaluatedTrainer):
    """A training of an objective on a stream of batches. Subclasses make its parts by ``_learn``.

    Attributes:
        batches: BatchStream of the training examples.
        objective: see ``tfalign.objectives``.
    """

    def _learn(
        self,
        model: keras.Model,
        objective: Callable,
        batches: BatchStream,
        held_out: Iterable[Any],
        num_examples: int,
        optimizer: keras.optimizers.Optimizer | None = None,
    ) -> None:
        """Makes the parts of the training.

        Args:
            model: what is trained.
            objective: what it learns.
            batches: endless stream of training batches.
            held_out: held-out batches.
            num_examples: how many make an epoch.
            optimizer: the options' where None.
        """
        self.objective = objective
        self.batches = batches
        self.held_out = list(held_out)
        self._check_held_out(self.held_out)
        self._num_examples = num_examples
        update = self.options.update
        optimizer = optimizer or make_optimizer(update, self.num_steps)
        self.learner = Learner(model, objective, optimizer, update.accumulate)
        self.evaluate = Evaluator(model, objective)
        self._watch(model)

    @property
    def num_steps(self) -> int:
        run = self.options.run
        if run.epochs is None:
            return run.steps
        return math.ceil(run.epochs * self._num_examples / self.options.update.batch_size)

    def _update(self, step):
        batch = self._arranged(next(self.batches))
        metrics = self.learner.update(batch)
        lora = getattr(self.options, "lora", None)
        rank = 0 if lora is None else lora.rank
        work = tokens_of(batch), operations_of(self.learner.model, batch, rank)
        self.watch.note(metrics, *work)
        return metrics | self._evaluated(step)

    def _arranged(self, batch: Any) -> Any:
        """A batch as the learner gets it."""
        return batch

    def _stateful(self):
        return {"batches": self.batches} | super()._stateful()


class ScratchTrainer(BatchTrainer):
    """A training from random weights, with a tokenizer trained on the same data.

    Args:
        data: the trainer's records: a source (see ``tfalign.data``), or a sequence of texts, dicts or records.
        held_out: held-out data in either form; None to split ``data``.
        options, run_dir, stage, callbacks, changes: see ``Trainer``.
    """

    def __init__(
        self,
        data: Data,
        *,
        held_out: Data | None = None,
        options: TrainingOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        start = names_of_data(data, held_out)
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        with self._building():
            self._build(data, held_out)

    def _build(self, data, held_out) -> None:
        """Makes the trainer's parts, see ``_learn``."""
        raise NotImplementedError


class SupervisedTrainer(BatchTrainer):
    """A training of a model that was pretrained.

    Args:
        model: a directory, or what ``tfalign.load`` returned, which is trained itself.
        data, held_out: see ``ScratchTrainer``.
        options, run_dir, stage, callbacks, changes: see ``Trainer``.
    """

    def __init__(
        self,
        model: str | os.PathLike | Pretrained,
        data: Data,
        *,
        held_out: Data | None = None,
        options: SupervisedOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        start = {"model": name_of(model)} | names_of_data(data, held_out)
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        with self._building():
            self._build(model, data, held_out)

    def _build(self, model, data, held_out) -> None:
        """Makes the trainer's parts, see ``_learn``."""
        raise NotImplementedError

    def _examples(self, kind: type, encode: Callable, data: Data, held_out, **limits: Any):
        """Encoded training and held-out examples."""
        options = self.options.data_options
        limits = {"tokenizer": self.tokenizer, "on_bad": options.on_bad} | limits
        splits = split_records(data, kind, options, held_out)
        return [
            encoded(f"{self.stage} {split}", encode, records, **limits)
            for split, records in zip(("train", "test"), splits)
        ]
