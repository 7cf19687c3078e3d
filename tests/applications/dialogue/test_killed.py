"""SIGKILL in the middle of a conversation: the run that goes on ends as one that was never killed, bit for bit."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

import tfalign
from tests.trainers.runs import assert_same_run, lines_of

PROGRAM = """
import os, pathlib, signal, sys

from tfalign.applications.dialogue import DialogueEnvironment, DialogueOptions, Task
from tfalign.applications.dialogue.training import align, fine_tune
from tfalign.options import changed, to_dict
from tfalign.trainers.base import open_run

path, deadly = sys.argv[1], float(sys.argv[2])
few = {"width": 32, "num_layers": 1, "copies": 1, "goals": 0, "dialogue_turns": 3, "steps": 4}
few |= {"batch_size": 16, "max_new_tokens": 96, "warmup_steps": 0, "save_every": 1, "dropout": 0.0}
few |= {"sft.steps": 60, "sft.batch_size": 8, "sft.warmup_steps": 5, "sft.learning_rate": 1e-2}
task = Task(changed(DialogueOptions(), run_dir=path, **few))
told, step = 0, DialogueEnvironment.step


def counted(self, action):
    global told
    told += 1
    if told >= deadly and self.exchanges:  # somebody has answered already
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, action)


DialogueEnvironment.step = counted
with open_run(path, {"dialogue": to_dict(task.options)}, "dialogue") as run:
    (fine_tune if path == "start" else align)(task, run)
pathlib.Path("told").write_text(str(told))
"""


@pytest.mark.slow
def test_killed_in_a_conversation_a_run_ends_as_if_it_had_not_been(tmp_path):
    def train(run_dir, deadly="inf"):
        if run_dir != "start":
            shutil.copytree(
                tmp_path / "start/models", tmp_path / run_dir / "models", dirs_exist_ok=True
            )
        paths = {"PYTHONPATH": str(pathlib.Path(tfalign.__file__).parent.parent)}
        command = [sys.executable, "-c", PROGRAM, run_dir, str(deadly)]
        return subprocess.run(command, cwd=tmp_path, env=os.environ | paths).returncode

    assert train("start") == 0
    assert train("whole") == 0
    told = int((tmp_path / "told").read_text())
    assert train("cut", int(told * 0.6)) == -signal.SIGKILL  # in the third batch of four
    assert 1 <= len(lines_of(tmp_path / "cut")) < 4
    assert train("cut") == 0
    assert int((tmp_path / "told").read_text()) < told
    assert_same_run(tmp_path / "cut", tmp_path / "whole", "rl")
    assert any(line["turns"] > 1 for line in lines_of(tmp_path / "whole"))
