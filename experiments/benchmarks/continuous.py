"""What continuous batching brings: the plain loop and the one with slots, in turn, at the same tokens.

    python -m experiments.benchmarks.continuous
    python -m experiments.benchmarks.continuous --demo=runs/demo

How long a response becomes is said by a constraint, the same in all loops, so that they draw the same tokens: a geometric
distribution whose mean is a quarter of the limit, which cuts off its tail. Every prompt stands in as many consecutive rows as its group
has. --rows responses are sampled by the plain loop in batches as large as the slots, by the plain loop in one batch, and by the loop with
slots. Prints, for two shapes of model, the fraction of rows run that drew a token, and the medians over --rounds of
the new tokens per second and of the ratios to the loop with slots, with their range. With --demo the demo's policy
answers its own prompts instead, as it likes.

Result: docs/results/continuous.md.
"""

from __future__ import annotations

import time

import numpy as np
from keras import ops

from experiments.launch import launch
from tfalign.decoding import Generator
from tfalign.decoding.continuous import ContinuousGenerator
from tfalign.evaluation.markdown import table
from tfalign.models import CausalLM, GPTConfig
from tfalign.options import option, option_record

# vocabulary, width, layers, heads; slots, prompt and response tokens
SHAPES = {
    "small": ((512, 128, 4, 4), (32, 16, 48)),
    "medium": ((5000, 256, 8, 4), (16, 32, 64)),
}
STOP = 0


@option_record
class ContinuousConfig:
    shapes: tuple[str, ...] = option(tuple(SHAPES), "Shapes, comma-separated.", SHAPES)
    rows: int = option(128, "Responses.", at_least=1)
    group_size: int = option(1, "Responses per prompt.", at_least=1)
    rounds: int = option(5, "Rounds; each runs every loop once.", at_least=1)


class Lengths:
    """A constraint under which response n has ``lengths[n]`` tokens; the first token of its prompt is n."""

    def __init__(self, lengths, vocabulary):
        self.lengths = ops.convert_to_tensor(lengths, "int32")
        self.is_stop = ops.arange(vocabulary) == STOP

    def start(self, prompts):
        return ops.take(self.lengths, prompts.token_ids[:, 0]) - 1

    def allowed(self, states):
        return (states == 0)[:, None] == self.is_stop

    def follow(self, states, tokens):
        return ops.maximum(states - 1, 0)
