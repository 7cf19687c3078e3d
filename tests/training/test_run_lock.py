"""One process has a run's directory: the second is refused, what a dead one left is taken over."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tfalign
from tfalign.training import run_lock
from tfalign.training.lock_records import RunInUseError, own_record
from tfalign.training.run_lock import LOCK_FILE, RunLock

HOLD = (
    "import sys, time; from tfalign.training.run_lock import RunLock;"
    " lock = RunLock(sys.argv[1]); print('held', flush=True); time.sleep(600)"
)


@contextlib.contextmanager
def held_elsewhere(directory):
    """A process that has the directory."""
    root = Path(tfalign.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["flock", "no flock"])
def locking(request, monkeypatch):
    """With the operating system's lock, and on a file system without."""
    if request.param == "no flock":
        monkeypatch.setattr(run_lock, "_flock", lambda descriptor: None)
    return request.param


def record_of(**changes):
    return own_record() | changes


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, locking):
    with held_elsewhere(tmp_path) as process:
        with pytest.raises(RunInUseError) as error:
            RunLock(tmp_path)
        assert f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()} since" in (
            str(error.value)
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
        RunLock(tmp_path)


def test_locks_of_one_process_are_shared(tmp_path, locking):
    first, second = RunLock(tmp_path), RunLock(tmp_path / ".")
    first.release()
    assert (tmp_path / LOCK_FILE).exists()
    second.release()
    assert not (tmp_path / LOCK_FILE).exists()
    second.release()  # again: nothing happens


def test_a_lock_that_nobody_has_any_more_is_given_back(tmp_path):
    lock = RunLock(tmp_path / "a" / "b")
    assert json.loads((tmp_path / "a" / "b" / LOCK_FILE).read_text())["pid"] == os.getpid()
    del lock
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"{half",
        b"[]",
        json.dumps(record_of(pid=2**22 + 1)).encode(),
        json.dumps(record_of(started="another boot 1")).encode(),  # the number is used again
    ],
    ids=["empty", "half", "no record", "no such process", "a later process"],
)
def test_what_a_dead_process_left_is_taken_over(tmp_path, locking, left):
    (tmp_path / LOCK_FILE).write_bytes(left)
    lock = RunLock(tmp_path)
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    lock.release()


def test_without_flock_a_process_of_another_host_counts(tmp_path, monkeypatch):
    (tmp_path / LOCK_FILE).write_text(json.dumps(record_of(host="other", pid=7)))
    RunLock(tmp_path).release()  # with it, the file system knows
    monkeypatch.setattr(run_lock, "_flock", lambda descriptor: None)
    (tmp_path / LOCK_FILE).write_text(json.dumps(record_of(host="other", pid=7)))
    with pytest.raises(RunInUseError, match=f"process 7 on other .*remove {tmp_path}/{LOCK_FILE}"):
        RunLock(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_hold_its_parents_lock(tmp_path):
    with held_elsewhere(tmp_path / "other"):
        pass
    lock = RunLock(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)  # until the parent's end closes it
        os._exit(0)
    lock.release()
    with held_elsewhere(tmp_path):
        pass
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)


def test_of_many_that_start_at_once_one_has_it(tmp_path, fuzz_cases, locking):
    """Threads stand for processes: each with a registry of its own, as separate processes have."""
    if locking == "no flock":
        pytest.skip("threads have one number: without flock they are one process")
    for attempt in range(fuzz_cases(3)):
        directory, results = tmp_path / f"{attempt}" / "run", []
        barrier = threading.Barrier(5)

        def take(directory=directory, barrier=barrier, results=results):
            barrier.wait()
            try:
                results.append(run_lock._Held(directory, f"{threading.get_ident()}"))
            except RunInUseError as error:
                results.append(error)

        threads = [threading.Thread(target=take) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        holders = [held for held in results if not isinstance(held, RunInUseError)]
        assert len(holders) == 1, results
        assert json.loads((directory / LOCK_FILE).read_text())["pid"] == os.getpid()
        holders[0].count = 1
        holders[0].give_back()
        assert not (directory / LOCK_FILE).exists()  # who made the directory may have lost
