"""Fine-tuning of an encoder under a head of its own: what classes, tags and similarities share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfalign.data import BatchStream
from tfalign.data.examples import Examples
from tfalign.models.huggingface.registry import fitting
from tfalign.pretrained import Pretrained
from tfalign.trainers.adapters import adapt
from tfalign.trainers.base import opened
from tfalign.trainers.data import Data, buckets, encoded, held_out_batches, split_records
from tfalign.trainers.encoder_options import EncoderOptions
from tfalign.trainers.saving import save_results
from tfalign.trainers.supervised import SupervisedTrainer
from tfalign.training.evaluator import Outputs

_DROPOUT = 0.1  # Devlin et al. 2019, appendix A.2


class EncoderTrainer(SupervisedTrainer):
    """A training of an encoder, whatever head it had, under a new one.

    Args:
        model: a directory, or what ``tfalign.load`` returned, of which a copy is trained.
        data, held_out, options, run_dir, stage, callbacks, changes: see ``SupervisedTrainer``.

    Attributes:
        model: keras.Model that is trained.
        train_examples: Examples.
        test_examples: held-out Examples, in their order; None for none.
        results: dict, what ``report`` measured last.
    """

    options_class = EncoderOptions
    kind: type  # of record

    def __init__(self, model: str | os.PathLike | Pretrained, data: Data, **settings: Any) -> None:
        self.results: dict[str, Any] = {}
        super().__init__(model, data, **settings)

    def _build(self, model, data, held_out):
        options = self.options
        encoder = self._opened(model)
        train, test = split_records(data, self.kind, options.data_options, held_out)
        self.model = self._new_model(backbone_of(encoder), train, test)
        fitting(self._saved_model)  # what cannot be saved is not trained
        adapt(self.model.backbone, options.lora)
        self.train_examples, self.test_examples = (
            encoded(f"{self.stage} {split}", self._encode, records)
            for split, records in (("train", train), ("test", test))
        )
        rows, self.columns = options.update.batch_size, self._columns()
        self._learn(
            self.model,
            self._new_objective(),
            BatchStream(self.train_examples, rows, self.columns, seed=options.run.seed),
            held_out_batches(self.test_examples, rows, self.columns),
            len(self.train_examples),
        )

    def _opened(self, model):
        """The encoder, with the dropout that the options ask for."""
        options, is_loaded = self.options, isinstance(model, Pretrained)
        dropout = options.dropout
        if dropout is None and not is_loaded:
            dropout = _DROPOUT
        changes = {} if dropout is None else {"dropout": dropout}
        pretrained = opened(model, options.update.precision, **changes)
        self.tokenizer = pretrained.tokenizer
        return pretrained.copy_of_model() if is_loaded else pretrained.model

    def _new_model(
        self, backbone: keras.Model, train: Sequence[Any], test: Sequence[Any]
    ) -> keras.Model:
        """What is trained, from the records."""
        raise NotImplementedError

    def _new_objective(self) -> Callable:
        """What it learns."""
        raise NotImplementedError

    def _encode(self, records: Sequence[Any]) -> Examples:
        """Records as examples."""
        raise NotImplementedError

    def _columns(self) -> list[int]:
        """The sequence lengths that a batch may have."""
        return buckets(self.options.length)

    @property
    def _saved_model(self) -> keras.Model:
        """What is left in the run's models."""
        return self.model

    def measure(self) -> dict[str, Any]:
        """What the model is worth as it is now, on the held-out examples."""
        raise NotImplementedError

    def _outputs(self, function):
        """A function's outputs for all held-out examples, in their order."""
        rows = self.options.update.batch_size
        return Outputs(self.model, function)(self.test_examples, rows, self.columns)

    def report(self) -> dict[str, Any]:
        """Measures, and writes what was found to ``RUN_DIR/STAGE.json``."""
        self.results = self.measure()
        save_results(self.run, self.stage, self.results)
        return self.results

    def save(self, **more: Any) -> None:
        self._save(self._saved_model, self.options.lora, **more)
        self.report()


def backbone_of(model: keras.Model) -> keras.Model:
    """The backbone of a model with a head, or the model itself where it has none."""
    return getattr(model, "backbone", model)
