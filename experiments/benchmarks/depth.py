"""Measures what it costs to compile, and to run, a training step of models of some depths: blocks written out one
after another, and scanned.

    python -m experiments.benchmarks.depth
    python -m experiments.benchmarks.depth --depths=12 --width=256 --length=256
    KERAS_BACKEND=jax python -m experiments.benchmarks.depth

A scanned stack (--scan_blocks) is compiled as one block in a loop. Each case is a process of its own, which
makes a GPT with random weights and updates it: loss, gradients, clipping and AdamW. Prints CPU seconds of all
threads: of the first update (tracing, compiling and running it) and of one of the later ones; and the memory of
the compiled update besides weights and optimizer.

Result: 48 blocks compile in 31 CPU seconds scanned, in 238 written out (JAX), which is 3.7 times what 4 take
(docs/results/depth.md).
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import time

import numpy as np

from experiments.launch import launch
from tfalign.cli.launch import WithoutDevices
from tfalign.evaluation.markdown import number, table
from tfalign.layers import ResidualBlock
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.options import option, option_record
from tfalign.planning import compiled
from tfalign.training.learner import Learner
from tfalign.training.optimizers import adamw
from tfalign.types import LanguageModelBatch


@option_record
class DepthConfig:
    depths: tuple[int, ...] = option((4, 12, 24, 48), "Numbers of blocks.")
    ways: tuple[str, ...] = option(
        ("written_out", "scanned"), "How blocks are compiled.", ("written_out", "scanned")
    )
    width: int = option(64, "Width of the model.", at_least=4)
    length: int = option(32, "Sequence length, tokens.", at_least=1)
    batch_size: int = option(4, "Rows per batch.", at_least=1)
    updates: int = option(10, "Updates that are timed after the first.", at_least=1)


def main(config):
    cells = []
    for way in config.ways:
        for depth in config.depths:
            case = (depth, way == "scanned", config.width, config.length, config.batch_size)
            command = [sys.executable, "-m", "experiments.benchmarks.depth", "case"]
            command += [repr((*case, config.updates))]
            printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            first, later, memory = ast.literal_eval(printed.splitlines()[-1])
            cells.append([way.replace("_", " "), str(depth), number(first), number(later)])
            cells[-1].append(f"{number(memory / 1e6)} MB")
            print(*cells[-1], file=sys.stderr, flush=True)
    print(table(["blocks are", "blocks", "first update, CPU s", "update, CPU s", "memory"], cells))


def measured(depth, scan, width, length, rows, updates):
    """(CPU seconds of the first update, of a later one, bytes of the program besides its arguments)."""
    with tempfile.TemporaryDirectory() as folder:
        compiled.watch(folder)
        ResidualBlock.scan = scan
        model = CausalLM(GPTConfig(512, width, depth, 4, max_positions=length))
        learner = Learner(model, LanguageModelling(), adamw(1e-4))
        ids = np.ones((rows, length), "int32")
        batch = LanguageModelBatch(ids, ids == 1, ids == 1, ids)
        start = time.process_time()
        float(learner.update(batch)["loss"])
        first = time.process_time() - start
        start = time.process_time()
        for _ in range(updates):
            float(learner.update(batch)["loss"])
        later = (time.process_time() - start) / updates
        (program,) = (p for p in compiled.programs(folder) if p.name == "_step")
        return first, later, program.temporary


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        print(measured(*ast.literal_eval(sys.argv[2])))
    else:
        launch(DepthConfig, main, __doc__, WithoutDevices)
