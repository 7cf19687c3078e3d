"""Any model on any objective: the way down from the other trainers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from tfalign.data import BatchStream
from tfalign.trainers.options import TrainingOptions
from tfalign.trainers.supervised import BatchTrainer
from tfalign.training.run_directory import RunDirectory


class ObjectiveTrainer(BatchTrainer):
    """Trains a model of one's own on a stream of batches.

    >>> from tfalign.data import BatchStream, one_text
    >>> from tfalign.models import CausalLM
    >>> from tfalign.objectives import LanguageModelling
    >>> model = CausalLM.from_preset("tiny", vocab_size=16, num_layers=1, width=16, num_heads=2)
    >>> batches = BatchStream(one_text(list(range(16)) * 8), batch_size=4, window_length=9, seed=0)
    >>> trainer = ObjectiveTrainer(model, LanguageModelling(), batches, steps=2, warmup_steps=0)
    >>> trainer.train()["loss"] > 0
    True

    Args:
        model: what is trained.
        objective: what it learns, see ``tfalign.objectives``.
        batches: endless stream of what the objective takes.
        held_out: held-out batches.
        tokenizer: saved with the model; None to save no model.
        optimizer: instead of the one that the options ask for.
        options, run_dir, stage, callbacks, changes: see ``Trainer``; options are a ``TrainingOptions``.
    """

    options_class = TrainingOptions
    default_stage = "train"

    def __init__(
        self,
        model: keras.Model,
        objective: Callable,
        batches: BatchStream,
        *,
        held_out: Iterable[Any] = (),
        tokenizer: Any = None,
        optimizer: keras.optimizers.Optimizer | None = None,
        options: TrainingOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        names = {"model": model, "objective": objective}
        start = {name: type(one).__name__ for name, one in names.items()}
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        self.tokenizer = tokenizer
        with self._building():
            examples = batches.num_batches * self.options.update.batch_size
            self._learn(model, objective, batches, held_out, examples, optimizer)

    def save(self) -> None:
        if self.tokenizer is not None:
            self._save(self.learner.model)
