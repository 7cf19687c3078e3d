"""What the experiments that fine-tune encoders share."""

from __future__ import annotations

import json

import numpy as np

from experiments import stages
from tfalign import backend
from tfalign.data import BatchStream
from tfalign.files import write_json_atomically
from tfalign.models import from_pretrained
from tfalign.options import option, option_record


@option_record
class EncoderConfig(stages.SupervisedConfig):
    """Options of fine-tuning a pretrained encoder."""

    model: str = option("", "Hugging Face directory of an encoder, with its tokenizer")
    data: str = option("", "TRAIN::TEST, each a source; or one source, split by its texts")
    length: int = option(128, "longest text, tokens; longer ones are cut", at_least=1)
    dropout: float = option(0.1, "while training", at_least=0, below=1)
    learning_rate: float = option(1e-4, "at its peak", above=0)

    def __post_init__(self):
        super().__post_init__()
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
    write_json_atomically(run.file(f"{name}.json"), results)
