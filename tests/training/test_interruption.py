"""Signals end a program in order: at once, or when what must not be cut in two is done."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tfalign
from tfalign.training import interruption
from tfalign.training.interruption import Deferred, Interrupted, handled
from tfalign.training.loop import run_steps

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0)  # where the handler runs


@pytest.fixture(autouse=True)
def _signals_are_not_ignored():
    """A shell ignores SIGINT for what it runs in the background, and so would this process and its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Recorder:
    """RunState and MetricsLog in one."""

    def __init__(self):
        self.saved, self.written = [], []

    saving = contextlib.nullcontext

    def begin_save(self, step):
        self.saved.append(step)

    def check(self):
        """Nothing is written by another thread."""

    def write(self, step, logs):
        self.written.append(step)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_the_program_with_its_code(number, code):
    with pytest.raises(Interrupted) as end, handled():
        send(number)
    assert end.value.code == code
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_deferred_it_waits(number, code, capfd):
    done = []
    with pytest.raises(Interrupted) as end, handled():
        with Deferred() as deferred:
            assert not deferred.agreed()
            send(number)
            done.append(deferred.agreed())
        done.append("never")
    assert done == [number] and end.value.code == code
    assert "ends after this update" in capfd.readouterr().err


def test_an_error_is_not_hidden_by_a_signal():
    with pytest.raises(KeyError), handled(), Deferred():
        send(signal.SIGTERM)
        raise KeyError


def test_processes_end_together():
    """One of three is signalled; what another says counts as much as what this one received."""
    for others in ([0, 0], [0, signal.SIGTERM]):
        with handled():
            deferred = Deferred(lambda value, others=others: [value, *others])
            with pytest.raises(Interrupted) if any(others) else Deferred(), deferred:
                assert deferred.agreed() == max(others)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_a_signal_that_the_caller_handles_is_left_to_it(handler):
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with handled():
            send(signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_handles_nothing():
    failures = []

    def work():
        try:
            with handled(), Deferred() as deferred:
                assert not deferred.agreed()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures


def test_a_library_that_took_the_signals_gives_them_back():
    with pytest.raises(Interrupted), handled():
        signal.signal(signal.SIGTERM, lambda *_: None)
        interruption.handle_again()
        send(signal.SIGTERM)


@pytest.mark.parametrize("at", [1, 4, 5, 10])
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_running_update_ends_and_is_saved(number, code, at):
    """The log has no line that an uninterrupted run has not."""
    recorder = Recorder()

    def update(step):
        if step == at:
            send(number)
        return {"loss": 0.0}

    with pytest.raises(Interrupted) as end:
        run_steps(update, 10, recorder, recorder, log_every=4, save_every=100)
    assert end.value.code == code
    assert recorder.saved == [at]
    assert recorder.written == [step for step in (4, 8, 10) if step <= at]


def test_a_signal_while_a_checkpoint_is_written_lets_the_next_update_end():
    recorder = Recorder()
    save = recorder.begin_save

    def signalled(step):
        if not recorder.saved:
            send(signal.SIGTERM)
        save(step)

    recorder.begin_save = signalled
    with pytest.raises(Interrupted):
        run_steps(lambda step: {}, 9, recorder, recorder, save_every=3)
    assert recorder.saved == [3, 4]


PROGRAM = """
import sys, time
from tfalign.training.interruption import Deferred, handled
with handled(), Deferred():
    print("in", flush=True)
    time.sleep(0.3) if sys.argv[1] == "twice at once" else time.sleep(600)
"""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("times", ["a second time", "twice at once"])
def test_a_second_signal_ends_at_once(number, code, times):
    """But one that comes with the first, as ``timeout`` sends it, is no second one."""
    root = Path(tfalign.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, times],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "in\n"
    process.send_signal(number)
    time.sleep(0.5 if times == "a second time" else 0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors


BUSY = """
import hashlib
from tfalign.training.interruption import Deferred, handled
with handled(), Deferred():
    print("in", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_a_second_signal_ends_a_long_call_too():
    """No handler of Python's runs while a compiled program does."""
    root = Path(tfalign.__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", BUSY], cwd=root, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"in\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    finally:
        process.kill()


def test_nothing_is_left_of_it():
    threads, handles = threading.active_count(), len(os.listdir("/dev/fd"))
    for _ in range(3):
        with handled():
            pass
    deadline = time.monotonic() + 60
    while (threading.active_count(), len(os.listdir("/dev/fd"))) != (threads, handles):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_forked_process_is_its_parents_to_end():
    with handled():
        child = os.fork()
        if not child:
            os._exit(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
        _, status = os.waitpid(child, 0)
    assert status == 0
