"""Measures how memory and time of attention grow with the length: of an update, and of a decoded token.

    python -m experiments.benchmarks.attention
    python -m experiments.benchmarks.attention --preset=gpt2 --vocab_size=50257 --lengths=16384 --remat --chunk=256
    KERAS_BACKEND=jax python -m experiments.benchmarks.attention

An update of language modelling, one row of random tokens, runs twice at each length, first with attention a tile at a
time (``layers.blockwise_attention``), then with its weights materialised, up to --materialised tokens. Memory
is XLA's buffer assignment beside the variables; seconds are CPU time, user and system, of the second update. A straight
line is fitted to the memory. Then one token is decoded with caches of these lengths, eight rows each.

Result: memory is linear from 1,024 to 16,384 tokens (docs/results/attention.md).
"""

from __future__ import annotations

import tempfile
import time

import numpy as np

from experiments.launch import launch
from tfalign import backend
from tfalign.cli.launch import WithoutDevices
from tfalign.evaluation.markdown import number, table
from tfalign.layers import ResidualBlock, scaled_dot_product
from tfalign.models import CausalLM
from tfalign.objectives import LanguageModelling
from tfalign.options import option, option_record
from tfalign.planning import compiled
from tfalign.trainers.optimizers import make_optimizer
from tfalign.trainers.options import UpdateOptions
from tfalign.training.learner import Learner
from tfalign.types import LanguageModelBatch

ROWS = 8  # of a decoded token
STEPS = 20  # that are timed


@option_record
class AttentionConfig:
    preset: str = option("mini", "Preset of models.gpt_config.PRESETS.")
    vocab_size: int = option(512, "Tokens in the vocabulary.", at_least=1)
    lengths: tuple[int, ...] = option((1024, 2048, 4096, 8192, 16384), "Sequence lengths, tokens.")
    materialised: int = option(
        4096, "Longest length, tokens, with materialised weights.", at_least=0
    )
    remat: bool = option(False, "Compute blocks again in the backward pass (Chen et al. 2016).")
    chunk: int | None = option(
        None, "Positions whose logits are computed at a time; None for all.", at_least=1
    )
    decode: bool = option(True, "Whether decoding is measured.")


def main(config):
    tiles = scaled_dot_product.MATERIALISED
    with tempfile.TemporaryDirectory() as folder:
        compiled.watch(folder)
        rows = []
        for length in config.lengths:
            rows.append([length, *update(config, length, folder)])
            if length <= config.materialised:
                scaled_dot_product.MATERIALISED = length**2
                rows[-1] += update(config, length, folder)
                scaled_dot_product.MATERIALISED = tiles
    heads = ["tokens", "MB", "CPU s", "materialised, MB", "CPU s"]
    print(table(heads[: max(map(len, rows))], cells(rows)))
    print(fit(*np.array([row[:2] for row in rows]).T))
    if config.decode:
        lengths = [[length, decode(config, length)] for length in config.lengths]
        print(table(["columns of the cache", "CPU ms a token"], cells(lengths)))


def update(config, length, folder):
    """Runs two updates: [megabytes beside the variables, CPU seconds of the second]."""
    ResidualBlock.remat = config.remat
    model = _model(config, length)
    settings = UpdateOptions(learning_rate=1e-4, warmup_steps=0)
    learner = Learner(model, LanguageModelling(config.chunk), make_optimizer(settings, 1))
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (1, length)).astype("int32")
    batch = LanguageModelBatch(ids, ids >= 0, ids >= 0, np.ones_like(ids))

    def wait():
        return [float(x) for x in learner.update(batch).values()]

    seconds = [_seconds(wait), _seconds(wait)]
    newest = [p for p in compiled.programs(folder) if p.name == "_step"][-1]
    return [newest.temporary / 1e6, seconds[1]]


def decode(config, length):
    """CPU milliseconds of a token of a row whose cache has so many columns."""
    model = _model(config, length)
    cache = model.backbone.new_cache(ROWS, length)
    ids, visible = np.ones((ROWS, 1), "int32"), np.ones((ROWS, length), "bool")
    column = np.int32(length - 1)

    def step(cache, ids, column, visible):
        positions = ids * column
        hidden, cache = model.backbone.extend(ids, cache, column, visible, positions)
        return hidden, cache

    step = backend.jit(step, model.variables)
    np.asarray(step(cache, ids, column, visible)[0])
    seconds = _seconds(
        lambda: [np.asarray(step(cache, ids, column, visible)[0]) for _ in range(STEPS)]
    )
    return 1000 * seconds / STEPS / ROWS


def fit(lengths, megabytes):
    """The straight line nearest to the memory, and how far it is off."""
    slope, start = np.polyfit(lengths, megabytes, 1) if len(lengths) > 1 else (np.nan, np.nan)
    off = np.abs(slope * lengths + start - megabytes) / megabytes
    return f"MB = {start:.1f} + {1000 * slope:.2f} x tokens / 1000, off by at most {off.max():.1%}"


def cells(rows):
    """A table's cells: the first a whole number."""
    width = max(map(len, rows))
    return [
        [str(row[0]), *(number(x) for x in row[1:]), *[""] * (width - len(row))] for row in rows
    ]


def _model(config, length):
    return CausalLM.from_preset(config.preset, vocab_size=config.vocab_size, max_positions=length)


def _seconds(function):
    before = time.process_time()
    function()
    return time.process_time() - before


if __name__ == "__main__":
    launch(AttentionConfig, main, __doc__, WithoutDevices)
