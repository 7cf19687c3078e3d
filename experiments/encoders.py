"""What the experiments that fine-tune encoders share."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from experiments import stages
from experiments.launch import option
from tfalign import backend
from tfalign.data import BatchStream
from tfalign.models import from_pretrained


@dataclasses.dataclass(frozen=True)
class EncoderConfig(stages.SupervisedConfig):
    """Options of fine-tuning a pretrained encoder."""

    model: str = option("", "Hugging Face directory of an encoder, with its tokenizer")
    data: str = option("", "TRAIN::TEST, each a source; or one source, split by its texts")
    length: int = option(128, "longest text, tokens; longer ones are cut")
    dropout: float = option(0.1, "while training")
    learning_rate: float = option(1e-4, "at its peak")

    def __post_init__(self):
        if not (self.model and self.data):
            raise ValueError("--model and --data must be given")


def trunk_of(directory, precision, dropout):
    """The trunk of a directory's model, whatever head it has there."""
    model = from_pretrained(directory, dtype=precision, dropout=dropout)
    return getattr(model, "backbone", model)


def compiled(function, model):
    """``(model, batch) -> array`` as a compiled function of the batch."""
    return backend.jit(lambda batch: function(model, batch), model.variables)


def over_all(function, examples, batch_size, columns):
    """What a function of a batch gives for every example, in the examples' order.

    Args:
        function: ``batch -> array[B, ...]``.
        examples: ``data.Examples``.
        batch_size: int.
        columns: list of int, the columns a batch may have.

    Returns:
        list of N arrays.
    """
    stream = BatchStream(examples, batch_size, columns, epochs=1, drop_remainder=False)
    results = {}
    for batch in stream:
        values = np.asarray(function(batch))
        results.update(zip(stream.indices.tolist(), values))
    return [results[index] for index in range(len(examples))]


def report(run, name, results):
    """Prints the results and leaves them in RUN_DIR/NAME.json."""
    print(f"{name}: {json.dumps(results)}")
    (run.path / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
