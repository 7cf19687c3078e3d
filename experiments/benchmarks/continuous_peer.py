"""Continuous batching beside transformers', which TRL uses: how much faster than its own plain loop is each of the two?

    python -m venv /tmp/peer && /tmp/peer/bin/pip install -r experiments/peers/requirements-trl-grpo.txt
    taskset -c 0 python -m experiments.benchmarks.continuous_peer --peer_python=/tmp/peer/bin/python

On one core. For each shape and number of completions the response lengths are those of ``benchmarks.continuous``: geometric, in
mean a quarter of the limit. A process of the peer's environment runs ``experiments/peers/transformers_continuous.py`` at the same
lengths; in every round each loop of both sides runs once, in turn. Seconds are of CPU, of all threads of a process, so that other
work on the machine does not count; a speed-up is a ratio within one process. Both plain loops run all completions in one batch.

Result: 1.4 to 2.7 times as fast as our plain loop, theirs 0.4 to 1.4 times, 1.3 to 1.7 without making the manager
(docs/results/continuous.md).
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np

from experiments.benchmarks.continuous import SHAPES, ContinuousConfig, loops_of, random_task
from experiments.launch import launch
from tfalign.evaluation.markdown import table
from tfalign.options import option, option_record

SCRIPT = Path(__file__).parents[1] / "peers" / "transformers_continuous.py"
THEIRS = ["continuous", "slots", "within continuous", "within slots"]


@option_record
class ContinuousPeerConfig:
    peer_python: str = option(
        "runs/peers/grpo/bin/python",
        "Python of an environment of experiments/peers/requirements-trl-grpo.txt.",
    )
    shapes: tuple[str, ...] = option(tuple(SHAPES), "Shapes, comma-separated.", SHAPES)
    completions: str = option(
        "32,64", "Completions of a batch, comma-separated.", at_least=1, list_of=int
    )
    share: int = option(4, "Completions for each slot.", at_least=1)
    rounds: int = option(5, "Timed rounds; each runs every loop once.", at_least=1)


def main(config):
    header = ["shape", "completions", "slots", "loop", "CPU seconds", "faster than plain", "range"]
    rows = []
    for shape in config.shapes:
        for count in map(int, config.completions.split(",")):
            rows += measured(config, shape, count)
    print(table(header, rows))


def measured(config, shape, count):
    """A row of the table for each loop."""
    slots = max(count // config.share, 1)
    task = random_task(shape, ContinuousConfig(rows=count, slots=slots))
    ours = loops_of(task)
    drawn, _ = ours["one batch"]()
    lengths = (drawn >= 0).sum(axis=1).tolist()
    with Peer(config.peer_python, job_of(shape, task, lengths, slots)) as peer:
        loops = {"ours, plain": timed(ours["one batch"]), "ours, slots": timed(ours["slots"])}
        for name in ("plain", *THEIRS):
            loops[f"theirs, {name}"] = lambda name=name: peer(name)
        rounds = [{name: loop() for name, loop in loops.items()} for _ in range(config.rounds + 1)]
    seconds = {name: np.array([found[name] for found in rounds[1:]]) for name in loops}
    for name, values in seconds.items():
        ratios = seconds[f"{name.partition(',')[0]}, plain"] / values
        yield [
            *map(str, (shape, count, slots, name)),
            f"{np.median(values):.3f}",
            f"{np.median(ratios):.2f}",
            f"{ratios.min():.2f} to {ratios.max():.2f}",
        ]
    print(f"{shape}, {count}: mean length {np.mean(lengths):.1f}, {peer.versions}", flush=True)


def job_of(shape, task, lengths, slots):
    """What the peer's script is given."""
    of_model, (_, columns, new) = SHAPES[shape]
    sizes = dict(zip(("vocab", "width", "layers", "heads"), of_model))
    return {
        "shape": sizes | {"prompt": columns, "new": new},
        "prompts": np.asarray(task.prompts.token_ids).tolist(),
        "lengths": lengths,
        "slots": slots,
    }


def timed(loop):
    """A function that runs the loop and returns its seconds of CPU."""

    def run():
        began = time.process_time()
        loop()
        return time.process_time() - began

    return run


class Peer:
    """The peer's process: called with a loop's name, it returns seconds of CPU."""

    def __init__(self, python, job):
        self._process = subprocess.Popen(
            [python, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = self._asked(json.dumps(job))["versions"]

    def __call__(self, name):
        return self._asked(name)["seconds"]

    def _asked(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError(f"{SCRIPT.name} has ended, at {line[:60]}")
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()


if __name__ == "__main__":
    launch(ContinuousPeerConfig, main, __doc__)
