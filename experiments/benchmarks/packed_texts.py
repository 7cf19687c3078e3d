"""What packed rows bring to fine-tuning: tokens per second of CPU time on texts of ragged length, padded and packed.

    python -m experiments.benchmarks.packed_texts

Texts are random, their lengths geometric with a mean of a third of --length, which is the longest; padded rows are of two
lengths, as the trainer has them, packed ones of --length. Weights are random, float32. In each of --rounds rounds an epoch is
trained padded and then packed, after one of each that compiles.

Result: 2.0 times as many tokens per second (docs/results/packed.md).
"""

from __future__ import annotations

import time

import keras
import numpy as np

from experiments.launch import launch
from tfalign.data import BatchStream, CompletionRecord
from tfalign.data.encoding import padding_id
from tfalign.data.examples import LanguageModelExamples, Ragged
from tfalign.evaluation.markdown import table
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.options import option, option_record
from tfalign.text import train_byte_bpe
from tfalign.trainers.data import buckets
from tfalign.training.learner import Learner

SHAPES = {"small": (512, 128, 4, 4), "medium": (5000, 256, 8, 4)}


@option_record
class PackedTextsConfig:
    shapes: tuple[str, ...] = option(("small", "medium"), "Shapes, comma-separated.", SHAPES)
    length: int = option(96, "Longest text, tokens.", at_least=6)
    texts: int = option(256, "Texts of an epoch.", at_least=1)
    rows: int = option(16, "Rows of a batch.", at_least=1)
    rounds: int = option(3, "Epochs of each.", at_least=1)


def ragged_examples(vocab_size: int, config: PackedTextsConfig) -> LanguageModelExamples:
    """Random texts, all of whose tokens are targets, the longest as long as allowed."""
    random = np.random.default_rng(0)
    lengths = np.minimum(1 + random.geometric(3 / config.length, config.texts), config.length)
    lengths[0] = config.length
    rows = [random.integers(0, vocab_size, length) for length in lengths]
    targets = np.concatenate([np.arange(length) > 0 for length in lengths])
    records = tuple(CompletionRecord("", "") for _ in rows)
    pad_id = padding_id(train_byte_bpe([], 259))
    return LanguageModelExamples(records, (), pad_id, Ragged(rows), targets)


def epoch(learner: Learner, stream: BatchStream) -> tuple[int, float]:
    """(real tokens, CPU seconds) of an epoch."""
    tokens, start = 0, time.process_time()
    for _ in range(stream.num_batches):
        learner.update(next(stream))
        tokens += stream.num_tokens
    return tokens, time.process_time() - start


def measured(shape: str, config: PackedTextsConfig) -> list[str]:
    """A row of the table."""
    vocab_size, width, layers, heads = SHAPES[shape]
    examples = ragged_examples(vocab_size, config)
    keras.utils.set_random_seed(0)
    model = CausalLM(GPTConfig(vocab_size, width, layers, heads, max_positions=config.length))
    learner = Learner(model, LanguageModelling(), keras.optimizers.AdamW(1e-4))
    streams = [
        BatchStream(examples, config.rows, seed=0, **layout)
        for layout in (
            {"bucket_lengths": buckets(config.length)},
            {"packed_length": config.length},
        )
    ]
    for stream in streams:
        epoch(learner, stream)
    rates = [
        [tokens / seconds for tokens, seconds in (epoch(learner, stream) for stream in streams)]
        for _ in range(config.rounds)
    ]
    padded, packed = np.median(rates, axis=0)
    gains = sorted(after / before for before, after in rates)
    mean = examples.lengths.mean()
    return [
        f"{shape}, mean {mean:.1f} of {config.length} tokens",
        f"{padded:.0f}",
        f"{packed:.0f}",
        f"{np.median(gains):.2f} [{gains[0]:.2f}, {gains[-1]:.2f}]",
    ]


def main(config: PackedTextsConfig) -> None:
    rows = [measured(shape, config) for shape in config.shapes]
    heads = ["texts", "tokens per CPU second, padded", "packed", "times as many"]
    print(table(heads, rows))


if __name__ == "__main__":
    launch(PackedTextsConfig, main, __doc__)
