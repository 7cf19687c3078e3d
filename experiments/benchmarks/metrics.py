"""Do a training's own metrics agree with the benchmark's numbers? Step time, tokens per second and mfu of a training, beside
the same update timed as ``experiments.benchmarks.benchmark`` times it, in turn.

    python -m experiments.benchmarks.metrics
    KERAS_BACKEND=jax python -m experiments.benchmarks.metrics --shape=medium

The training logs every --log_every steps; after each line as many updates of a benchmark's batch are timed, each waiting for
its result, while the training's watch stands still. So both see the same machine, whatever else runs on it. Peak of the
mfu: --peak_tflops. Writes RUN_DIR/metrics_check.json; about a minute.

Result: within 1% by the processor's clock; by the wall's the machine was too busy (docs/results/profile.md).
"""

from __future__ import annotations

import json
import statistics
import time

import keras
import numpy as np

from experiments.benchmarks.benchmark import SHAPES
from experiments.launch import launch
from tfalign.data import BatchStream, one_text
from tfalign.files import local_path
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.options import option, option_record
from tfalign.trainers.objective import ObjectiveTrainer
from tfalign.training.step_costs import Work, supervised_costs
from tfalign.types import LanguageModelBatch

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@option_record
class MetricsConfig:
    run_dir: str = option("runs/metrics", "Directory of the training and of metrics_check.json.")
    shape: str = option("small", "Shape of the benchmark.", ("small", "medium"))
    steps: int = option(200, "Training steps.", at_least=4)
    log_every: int = option(10, "Steps between lines, and updates timed after each.", at_least=1)
    clock: str = option(
        "wall", "Clock of both; processor: of all threads, on a machine that is shared.", CLOCKS
    )
    peak_tflops: float = option(0.166, "Peak of the device, TFLOP/s.", above=0)


class TimedUpdates(keras.callbacks.Callback):
    """Times updates of one batch after every logged step.

    Attributes:
        pairs: (seconds of a step by the training's metrics, by the benchmark's way), one a line that has the first.
        logged: the last line.
    """

    def __init__(self, batch, repeats, clock):
        super().__init__()
        self.trainer, self.pairs, self.logged = None, [], {}
        self._batch, self._repeats, self._clock = batch, repeats, clock

    def on_train_begin(self, logs=None):
        self.trainer.watch.clock = self._clock

    def on_train_batch_end(self, step, logs=None):
        if "step_seconds" not in logs:
            return
        update, seconds = self.trainer.learner.update, []
        float(update(self._batch)["loss"])
        for _ in range(self._repeats):
            start = self._clock()
            float(update(self._batch)["loss"])
            seconds.append(self._clock() - start)
        self.pairs.append((logs["step_seconds"], statistics.mean(seconds)))
        self.logged = logs


def main(config):
    shape = SHAPES[config.shape]
    rows, columns = shape["batch"], shape["prompt"] + shape["new"]
    sizes = (shape["vocab"], shape["width"], shape["layers"], shape["heads"])
    model = CausalLM(GPTConfig(*sizes, max_positions=columns))
    ids = np.random.default_rng(0).integers(0, shape["vocab"], (rows, columns), "int32")
    ones = np.ones((rows, columns), "bool")
    batch = LanguageModelBatch(ids, ones, ones, ones.astype("int32"))
    timed = TimedUpdates(batch, config.log_every, CLOCKS[config.clock])
    text = one_text(ids.flatten().tolist() * 4)
    trainer = ObjectiveTrainer(
        model,
        LanguageModelling(),
        BatchStream(text, rows, window_length=columns, seed=0),
        run_dir=config.run_dir,
        callbacks=[timed],
        steps=config.steps,
        log_every=config.log_every,
        save_every=config.steps,
        peak_tflops=config.peak_tflops,
    )
    timed.trainer = trainer
    trainer.train()
    found = compared(timed, rows * columns, operations(model, rows, columns), config.peak_tflops)
    file = local_path(config.run_dir) / "metrics_check.json"
    file.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


def operations(model, rows, columns):
    """Planned operations of an update."""
    return supervised_costs(model.config, Work(rows, 0, columns)).total_flops


def compared(timed, tokens, flops, peak_tflops):
    """Medians over the lines, and the median of their ratios."""
    metrics, benchmark = (statistics.median(column) for column in zip(*timed.pairs))
    ratio = statistics.median(ours / theirs for ours, theirs in timed.pairs)
    logged = timed.logged
    return {
        "lines": len(timed.pairs),
        "step_seconds": [metrics, benchmark],
        "ratio_of_step_seconds": ratio,
        "tokens_per_second": [tokens / metrics, tokens / benchmark],
        "mfu": [one / peak_tflops / 1e12 for one in (flops / metrics, flops / benchmark)],
        # that the logged numbers are those of the same steps
        "logged_tokens": logged["tokens_per_second"] * logged["step_seconds"] / tokens,
        "logged_mfu": logged["mfu"] * logged["step_seconds"] * peak_tflops * 1e12 / flops,
    }


if __name__ == "__main__":
    launch(MetricsConfig, main, __doc__)
