"""Measures how long a training stands still for a checkpoint: when it waits for the disk, and when another thread writes.

    python -m experiments.benchmarks.checkpoints
    python -m experiments.benchmarks.checkpoints --preset=mini --run_dir=gs://bucket/checkpoints
    KERAS_BACKEND=jax python -m experiments.benchmarks.checkpoints

A GPT with random weights and AdamW's moments is saved in turn both ways. Prints seconds by the clock, median and range,
from the call to its return, which is when the next update begins, and until the checkpoint is whole; and CPU seconds of
the training's thread within the call.

Result: docs/results/buckets.md.
"""

from __future__ import annotations

import math
import statistics
import time

from experiments.launch import launch
from tfalign.cli.launch import WithoutDevices
from tfalign.evaluation.markdown import number, table
from tfalign.models import CausalLM
from tfalign.options import option, option_record
from tfalign.training.optimizers import adamw
from tfalign.training.run_directory import RunDirectory
from tfalign.training.run_state import RunState


@option_record
class CheckpointsConfig:
    preset: str = option("gpt2", "Preset of models.gpt.PRESETS.")
    saves: int = option(5, "Checkpoints of either kind.", at_least=1)
    run_dir: str = option("runs/checkpoints", "Directory of the run; its files remain.")


def main(config):
    model = CausalLM.from_preset(config.preset)
    optimizer = adamw(1e-4)
    optimizer.build(model.trainable_variables)
    variables = {"model": model.variables, "optimizer": optimizer.variables}
    with RunDirectory(config.run_dir, {"preset": config.preset}) as run:
        checkpointer = run.checkpointer("measured", keep_last=2)
        measured = {background: [] for background in (False, True)}
        for step in range(2 * config.saves + 2):
            background = bool(step % 2)
            state = RunState(checkpointer, variables, {}, background)
            seconds = _save(state, step)
            if step >= 2:  # the first of each makes room in memory
                measured[background].append(seconds)
    count = sum(math.prod(one.shape) for group in variables.values() for one in group)
    print(f"{count / 1e6:.0f} million numbers")
    head = ["written", "stands still, s", "range", "of it CPU, s", "whole after, s"]
    names = {False: "while it waits", True: "in the background"}
    print(table(head, [[names[key], *_row(times)] for key, times in measured.items()]))


def _save(state, step):
    """(seconds that the call took, CPU seconds of this thread, seconds until the checkpoint is whole)."""
    clock, cpu = time.perf_counter(), time.thread_time()
    with state.saving():
        state.begin_save(step)
        called = time.perf_counter() - clock, time.thread_time() - cpu
    return *called, time.perf_counter() - clock


def _row(times):
    stands, cpu, whole = zip(*times)
    spread = f"{min(stands):.2f} to {max(stands):.2f}"
    return [
        number(statistics.median(stands)),
        spread,
        number(statistics.median(cpu)),
        number(statistics.median(whole)),
    ]


if __name__ == "__main__":
    launch(CheckpointsConfig, main, __doc__, WithoutDevices)
