"""What continuous batching brings: the plain decode loop and the one with slots, in turn, at the same tokens.

    python -m experiments.benchmarks.continuous
    python -m experiments.benchmarks.continuous --shapes= --demo=runs/demo --rows=256

At the shapes the models have random weights, and the sampler stops with the same probability at every token: lengths are
geometric, in mean a quarter of the limit, which cuts off their tail. With --demo the fine-tuned policy of
a demo's run answers its training prompts, and stops when it likes. --rows responses, --group_size to a prompt, are
sampled three ways: by the plain loop in batches of as many rows as there are slots, by the plain loop in one batch, and by
the loop with slots. Prints for each the fraction of the rows it ran that drew a token of a response and, in the median over
--rounds, its new tokens per second; and how many times as fast the slots are as each of the others, with the range. Responses
in which loops differ are counted: sums of different shapes are rounded differently, and a token at the edge changes.

Result: slots use 0.87 to 0.98 of their rows, where the plain loop uses 0.25 to 0.6, and draw 1.5 to 3.3 times as many
tokens per second (docs/results/continuous.md).
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from experiments.launch import launch
from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.decoding import ContinuousGenerator, Generator, Sampler
from tfalign.evaluation.markdown import table
from tfalign.models import CausalLM, GPTConfig, from_pretrained
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer
from tfalign.trainers.data import EMBEDDED, read_split
from tfalign.trainers.options import DataOptions
from tfalign.types import Prompts

# vocabulary, width, layers, heads; slots, prompt and response tokens
SHAPES = {
    "small": ((512, 128, 4, 4), (32, 16, 48)),
    "medium": ((5000, 256, 8, 4), (16, 32, 64)),
}
DEMO = (16, 42, 48)
STOP = 0


@option_record
class ContinuousConfig:
    shapes: tuple[str, ...] = option(tuple(SHAPES), "Shapes, comma-separated.", SHAPES)
    demo: str | None = option(None, "Run directory of a demo; none: random weights alone.")
    rows: int = option(128, "Responses.", at_least=1)
    group_size: int = option(1, "Responses per prompt; must divide --rows.", at_least=1)
    slots: int | None = option(None, "Slots; none: the shape's.", at_least=1)
    rounds: int = option(7, "Timed rounds; each runs every loop once.", at_least=1)


class Task(NamedTuple):
    """What all loops do."""

    name: str
    model: CausalLM
    prompts: Prompts
    slots: int
    new: int  # maximum response length, tokens
    how: dict[str, Any]  # of the loops


class Ending(NamedTuple):
    """A sampler that stops with one probability in every step, and otherwise takes what the model says."""

    probability: float

    def choose(self, logits, uniforms):
        others = ops.where(ops.arange(logits.shape[-1]) == STOP, -1e30, logits)
        rest = ops.maximum(uniforms - self.probability, 0.0) / (1 - self.probability)
        tokens, log_probs = Sampler().choose(others, rest)
        stops = uniforms < self.probability
        log_probs = ops.where(
            stops, math.log(self.probability), log_probs + math.log1p(-self.probability)
        )
        return ops.where(stops, STOP, tokens), log_probs


def main(config):
    tasks = [random_task(name, config) for name in config.shapes]
    tasks += [demo_task(config)] if config.demo else []
    header = ["task", "responses", "slots", "mean length", "loop", "rows used", "new tokens/s"]
    header += ["slots are faster by", "range", "responses that differ"]
    print(table(header, [row for task in tasks for row in measured(task, config)]))


def random_task(name, config):
    of_model, (slots, columns, new) = SHAPES[name]
    distinct = config.rows // config.group_size
    ids = np.random.default_rng(0).integers(1, of_model[0], (distinct, columns))
    keras.utils.set_random_seed(0)
    model = CausalLM(GPTConfig(*of_model, max_positions=columns + new))
    how = {"sampler": Ending(4 / new), "stop_tokens": (STOP,)}
    prompts = Prompts(ids, np.ones(ids.shape, "bool"))
    return Task(name, model, grouped(prompts, config), config.slots or slots, new, how)


def demo_task(config):
    slots, columns, new = DEMO
    model = str(Path(config.demo) / "models" / "sft")
    tokenizer = load_tokenizer(model)
    records = read_split(EMBEDDED, PromptRecord, "train", DataOptions())
    examples = encode_prompts(records, tokenizer, columns, "skip")
    batch = next(BatchStream(examples, config.rows // config.group_size, [columns]))
    how = {"stop_tokens": tokenizer.stop_ids, "pad_id": tokenizer.pad_id}
    prompts = grouped(Prompts(batch.token_ids, batch.mask), config)
    return Task("demo", from_pretrained(model), prompts, config.slots or slots, new, how)


def grouped(prompts, config):
    return prompts.each(lambda x: np.repeat(np.asarray(x), config.group_size, axis=0))


def measured(task, config):
    """A row of the table for each loop."""
    loops = loops_of(task)
    rounds = [{name: timed(loop) for name, loop in loops.items()} for _ in range(config.rounds + 1)]
    seconds = {name: np.array([x[name][0] for x in rounds[1:]]) for name in loops}  # one compiles
    _, drawn, _ = rounds[0]["slots"]
    for name, (_, others, row_steps) in rounds[0].items():
        used, ratios = np.sum(others >= 0), seconds[name] / seconds["slots"]
        yield [
            *map(str, (task.name, len(drawn), task.slots, round(used / len(drawn), 1), name)),
            f"{used / row_steps:.3f}",
            f"{used / np.median(seconds[name]):,.0f}",
            f"{np.median(ratios):.2f}",
            f"{ratios.min():.2f} to {ratios.max():.2f}",
            str((others != drawn).any(axis=1).sum()),
        ]


def timed(loop):
    """(seconds, and what the loop returns)."""
    began = time.perf_counter()
    drawn, row_steps = loop()
    return time.perf_counter() - began, drawn, row_steps


def loops_of(task):
    """Functions that return (tokens int[N, R], -1 after the end; rows run, in all steps together)."""
    plain = Generator(task.model, task.new, **task.how)
    continuous = ContinuousGenerator(task.model, task.new, task.slots, **task.how)
    count = len(task.prompts.mask)

    def in_batches(size):
        found = [
            drawn_of(plain(*(x[rows] for x in task.prompts), row_ids=rows))
            for rows in np.split(np.arange(count), range(size, count, size))
        ]
        longest = [np.sum(drawn >= 0, axis=1).max() for drawn in found]
        row_steps = sum(len(drawn) * steps for drawn, steps in zip(found, longest))
        return np.concatenate(found), row_steps

    def in_slots():
        generation, row_steps = continuous.counted(*task.prompts)
        return drawn_of(generation), row_steps

    return {
        f"batches of {task.slots}": lambda: in_batches(task.slots),
        "one batch": lambda: in_batches(count),
        "slots": in_slots,
    }


def drawn_of(generation):
    return np.where(np.asarray(generation.mask), np.asarray(generation.tokens), -1)


if __name__ == "__main__":
    launch(ContinuousConfig, main, __doc__)
