"""Measures what each way to save memory saves, and what it costs, in one update as XLA compiles it.

    python -m experiments.benchmarks.memory
    python -m experiments.benchmarks.memory --preset=gpt2 --length=256 --batch_size=4

Compiles an update of language modelling with random weights without any of the ways, with each alone, and with
all of them: blocks recomputed in the backward pass (--remat; Chen et al. 2016), logits of a chunk of positions
at a time (--chunk), a first moment in bfloat16, Adafactor (Shazeer and Stern 2018), activations and arithmetic
in bfloat16 (--precision). Variables are weights and optimizer state; the rest is XLA's buffer assignment;
operations are those of its matrix products. Prints a table. Time is not measured: the question is what fits.

Result: remat, chunk and Adafactor together take 0.16 of the memory and 1.26 of the operations
(docs/results/memory.md).
"""

from __future__ import annotations

import tempfile
from typing import NamedTuple

import numpy as np

from experiments.launch import launch
from tfalign.cli.launch import WithoutDevices
from tfalign.evaluation.markdown import number, table
from tfalign.layers import ResidualBlock
from tfalign.models import CausalLM
from tfalign.objectives import LanguageModelling
from tfalign.options import option, option_record
from tfalign.planning import compiled
from tfalign.planning.measured_step import bytes_of
from tfalign.trainers.optimizers import make_optimizer
from tfalign.trainers.options import UpdateOptions
from tfalign.training.learner import Learner
from tfalign.types import LanguageModelBatch


@option_record
class MemoryConfig:
    preset: str = option("small", "Preset of models.gpt_config.PRESETS.")
    length: int = option(256, "Sequence length, tokens.", at_least=1)
    batch_size: int = option(16, "Rows per batch.", at_least=1)
    chunk: int = option(256, "Positions whose logits are computed at a time.", at_least=1)


class Way(NamedTuple):
    """Settings with which an update is compiled."""

    remat: bool = False
    chunk: int | None = None
    optimizer: str = "adamw"
    precision: str = "float32"


def ways(chunk):
    """All settings that are compared: dict of name to Way."""
    return {
        "as it is": Way(),
        "remat": Way(remat=True),
        "chunk": Way(chunk=chunk),
        "first moment in bfloat16": Way(optimizer="adamw_bfloat16"),
        "Adafactor": Way(optimizer="adafactor"),
        "mixed_bfloat16": Way(precision="mixed_bfloat16"),
        "remat, chunk, Adafactor": Way(True, chunk, "adafactor"),
        "all": Way(True, chunk, "adafactor", "mixed_bfloat16"),
    }


def main(config):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        compiled.watch(folder)
        for name, way in ways(config.chunk).items():
            held = update(config, way)
            newest = [p for p in compiled.programs(folder) if p.name == "_step"][-1]
            rows.append((name, held, newest.temporary, newest.flops))
    print(table(["", "variables", "beside them", "in all", "operations"], cells(rows)))


def update(config, way):
    """Runs one update; returns the bytes of all variables."""
    ResidualBlock.remat = way.remat
    model = CausalLM.from_preset(config.preset, dtype=way.precision, max_positions=config.length)
    settings = UpdateOptions(optimizer=way.optimizer, learning_rate=1e-4, warmup_steps=0)
    optimizer = make_optimizer(settings, 1)
    ids = np.ones((config.batch_size, config.length), "int32")
    batch = LanguageModelBatch(ids, ids == 1, ids == 1, ids)
    Learner(model, LanguageModelling(way.chunk), optimizer).update(batch)
    ResidualBlock.remat = False
    return sum(bytes_of(model.variables + optimizer.variables))


def cells(rows):
    """The table's cells: megabytes, and ratios to the first row."""
    _, held, beside, flops = rows[0]
    return [
        [
            name,
            f"{number(own / 1e6)} MB",
            f"{number(rest / 1e6)} MB ({rest / beside:.2f})",
            f"{number((own + rest) / 1e6)} MB ({(own + rest) / (held + beside):.2f})",
            f"{done / flops:.2f}",
        ]
        for name, own, rest, done in rows
    ]


if __name__ == "__main__":
    launch(MemoryConfig, main, __doc__, WithoutDevices)
