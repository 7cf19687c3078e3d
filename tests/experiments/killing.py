"""Runs that are signalled at random moments and started again until they are done."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from tfalign.files import is_whole

STAGES = ("pretrain", "sft", "reward_model", "ppo")
_GIVE_UP_SECONDS = 900


class Kill(NamedTuple):
    """A signal that a run got.

    Attributes:
        stage: str, the stage that ran.
        checkpoint: int, step of the stage's newest checkpoint then; 0 for none.
        exit_code: int, as ``subprocess`` has it: of a signal that kills, its negative number.
    """

    stage: str
    checkpoint: int
    exit_code: int


def start(run_dir, data_dir, *flags, env=None):
    """The smoke pipeline in a process of its own."""
    command = [sys.executable, "-m", "experiments.pipeline", "--config=smoke"]
    return subprocess.Popen(
        [*command, f"--run_dir={run_dir}", f"--data_dir={data_dir}", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def finish(process):
    """Waits for a process that must end well."""
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]


def kill_at_random(runs, data_dir, number, kills, seed):
    """Signals pipelines ``kills`` times in all, and lets each of them end.

    Every update leaves a checkpoint. A process is signalled after it has begun, two of three times after a
    checkpoint too, at any moment of the following; a run that was signalled in every stage
    is followed by another one.

    Args:
        runs: Path or RemotePath, the folder of the runs.
        data_dir: Path.
        number: signal.
        kills: int.
        seed: int, of the dice.

    Returns:
        (list of Kill, list of the runs' directories).
    """
    dice = random.Random(seed)
    flags = [f"--{stage}.save_every=1" for stage in STAGES]
    done, directories = [], []
    while len(done) < kills:
        directories.append(runs / f"{len(directories)}")
        for stage in _stages_of_a_run(kills - len(done)):
            process = start(directories[-1], data_dir, *flags)
            updates = min(len(done) % 3, 1) if done else 1  # two of three after a checkpoint
            _wait(process, directories[-1], stage, updates)
            time.sleep(dice.uniform(0, 0.3 if updates else 12))
            where = progress(directories[-1])
            process.send_signal(number)
            process.communicate()
            if process.returncode == 0:  # it was done just before
                break
            done.append(Kill(*where, process.returncode))
            print(signal.Signals(number).name, *done[-1], flush=True)
        finish(start(directories[-1], data_dir, *flags))
    return done, directories


def _stages_of_a_run(kills):
    """In which stage each signal of a run comes at the earliest: at most three in one."""
    kills = min(kills, 3 * len(STAGES))
    return [STAGES[index * len(STAGES) // kills] for index in range(kills)]


def progress(run_dir):
    """(the stage that runs, the step of its newest checkpoint or 0)."""
    stage = next((s for s in STAGES if not is_whole(run_dir / "models" / s)), "evaluate")
    records = (run_dir / "checkpoints" / stage).glob("step-*/state.json")
    steps = [int(record.parent.name[5:]) for record in records]
    return stage, max(steps, default=0)


def _wait(process, run_dir, stage, updates):
    """Until the process has begun, is in a stage or a later one, and has made so many checkpoints there."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    order = (*STAGES, "evaluate")
    begun_at = None
    while time.monotonic() < deadline and process.poll() is None:
        now = progress(run_dir)
        if _holder(run_dir) == process.pid and order.index(now[0]) >= order.index(stage):
            if begun_at is None or begun_at[0] != now[0]:
                begun_at = now
            if now[1] - begun_at[1] >= updates or now[0] == "evaluate":
                return
        time.sleep(0.01)
    _, errors = process.communicate()
    raise AssertionError(f"{stage} was never reached: {errors[-2000:]}")


def _holder(run_dir):
    """The process that has the run directory; None for none."""
    try:
        return json.loads((run_dir / "run.lock").read_text())["pid"]
    except (OSError, ValueError):
        return None
