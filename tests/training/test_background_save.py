"""Checkpoints written by another thread: what was when they began, one at a time, and nothing older is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from tfalign.training.background_save import BackgroundSave
from tfalign.training.checkpoint import Checkpointer, Part
from tfalign.training.checkpoint_files import CheckpointError
from tfalign.training.processes import Processes
from tfalign.training.run_state import RunState


class Slow(Checkpointer):
    """Writes when it is let, and remembers how many did at once."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.let, self.writing, self.most, self.failure = threading.Event(), 0, 0, None

    def write(self, begun, arrays):
        self.writing += 1
        self.most = max(self.most, self.writing)
        self.let.wait(30)
        super().write(begun, arrays)
        begun.failure = begun.failure or self.failure
        self.writing -= 1


class Counter:
    def __init__(self):
        self.seen = {"epochs": [0]}

    def state(self):
        return self.seen

    def restore(self, state):
        self.seen = state


@pytest.fixture
def training(tmp_path):
    """(checkpointer, variable, counter, RunState)."""
    checkpointer, counter = Slow(tmp_path), Counter()
    variable = keras.Variable(np.zeros(4, "float32"), name="kernel")
    return (
        checkpointer,
        variable,
        counter,
        RunState(checkpointer, {"m": [variable]}, {"c": counter}),
    )


def test_what_was_when_it_began_is_written(training):
    checkpointer, variable, counter, state = training
    variable.assign(np.full(4, 1.0))
    with state.saving():
        state.begin_save(1)
        variable.assign(np.full(4, 2.0))
        counter.seen["epochs"].append(1)
        state.check()
        assert checkpointer.latest() is None
        checkpointer.let.set()
    variable.assign(np.full(4, 3.0))
    assert state.restore() == 1
    np.testing.assert_array_equal(variable, np.full(4, 1.0))
    assert counter.seen == {"epochs": [0]}


def test_the_copy_is_of_its_own_memory(training):
    """An update of a compiled program may write where the variable was."""
    _, variable, _, state = training
    (part,) = state._arrays()["m/0000/kernel"]
    assert part.array.flags.owndata and not np.shares_memory(part.array, np.asarray(variable))


def test_a_second_waits_for_the_first(training):
    checkpointer, _, _, state = training
    with state.saving():
        state.begin_save(1)
        second = threading.Thread(target=state.begin_save, args=(2,))
        second.start()
        second.join(0.1)
        assert second.is_alive() and checkpointer.writing == 1
        checkpointer.let.set()
        second.join()
    assert checkpointer.most == 1 and checkpointer.steps() == [1, 2]


@pytest.mark.parametrize("ask", ["check", "begin_save", "leave"])
def test_a_failure_is_raised_in_the_training(training, ask):
    checkpointer, _, _, state = training
    checkpointer.failure = OSError(28, "No space left on device")
    checkpointer.let.set()
    with pytest.raises(OSError, match="No space left"), state.saving():
        state.begin_save(1)
        state._background.wait()
        if ask != "leave":
            getattr(state, ask)(*[2] * (ask == "begin_save"))
            pytest.fail("it went on")
    assert checkpointer.steps() == []


def test_an_error_of_the_training_leaves_no_thread(training):
    checkpointer, _, _, state = training
    with pytest.raises(KeyError), state.saving():
        state.begin_save(1)
        threading.Timer(0.05, checkpointer.let.set).start()
        raise KeyError
    assert checkpointer.writing == 0 and checkpointer.steps() == [1]


def test_not_in_the_background_it_is_whole_at_once(training):
    checkpointer, variable, counter, _ = training
    checkpointer.let.set()
    state = RunState(checkpointer, {"m": [variable]}, {"c": counter}, background=False)
    state.begin_save(1)
    assert checkpointer.steps() == [1]


@pytest.mark.parametrize("fails", [False, True])
def test_several_processes_finish_it_between_updates(tmp_path, fails):
    whole, barrier, said = np.arange(8.0), threading.Barrier(2), {}

    def process(index):
        def gather(value):
            said[index] = value
            barrier.wait()
            values = [said[0], said[1]]
            barrier.wait()
            return values

        checkpointer = Slow(tmp_path, processes=Processes(index, gather))
        save = BackgroundSave(checkpointer)
        half = Part((8,), (4 * index,), whole[4 * index : 4 * index + 4])
        save.begin(1, lambda: {"weights": [half]}, {"by": index})
        save.check()
        assert checkpointer.steps() == []
        checkpointer.failure = OSError("full") if fails and index else None
        checkpointer.let.set()
        try:
            while not all(gather(bool(checkpointer.steps()))):  # both look equally often
                save.check()
        except (OSError, CheckpointError) as error:
            return type(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        raised = list(pool.map(process, range(2)))
    assert raised == ([CheckpointError, OSError] if fails else [None, None])
    if not fails:
        step, arrays, state = Checkpointer(tmp_path).restore()
        np.testing.assert_array_equal(arrays["weights"], whole)
        assert (step, state) == (1, {"by": 0})


KILLED = """
import os, signal, sys, time
import numpy as np
from tfalign.training import checkpoint
from tfalign.training.background_save import BackgroundSave

checkpointer = checkpoint.Checkpointer(sys.argv[1], keep_last=1)
save = BackgroundSave(checkpointer)
save.begin(1, lambda: {"weights": np.full(5000, 1.0)}, {})
save.finish()
write = checkpoint.write_arrays

def half(file, arrays):
    write(file, arrays)
    os.truncate(file, 100)
    os.kill(os.getpid(), signal.SIGKILL)

checkpoint.write_arrays = half
save.begin(2, lambda: {"weights": np.full(5000, 2.0)}, {})
time.sleep(60)
"""


def test_a_kill_while_it_is_written_loses_nothing_older(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert Checkpointer(tmp_path).restore().step == 1
    Checkpointer(tmp_path).save(3, {}, {})
    assert [path.name for path in tmp_path.iterdir()] != [] and Checkpointer(tmp_path).steps() == [
        1,
        3,
    ]
    assert not list(tmp_path.glob(".step-*"))
