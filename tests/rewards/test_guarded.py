"""A user's reward function that raises, hangs, dies or returns nonsense."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfalign.rewards import Guarded, RewardError, TextReward


def misbehave(prompt, response):
    """Does what the response says; else its length."""
    if response == "hang":
        while True:
            with contextlib.suppress(BaseException):  # no exception ends it
                time.sleep(60)
    if response == "raise":
        raise KeyError("no such key")
    if response == "die":
        os._exit(1)
    if response == "nan":
        return float("nan")
    if response == "none":
        return None
    return len(response)


FAILURES = {
    "raise": "KeyError: 'no such key'",
    "nan": "not a finite number. Received: nan",
    "none": "not a finite number. Received: None",
}
FAILURES_CUT_OFF = FAILURES | {
    "hang": "no answer within 2 seconds",
    "die": "the function ended its process",
}


@pytest.mark.parametrize(("response", "reason"), FAILURES.items())
def test_failures_in_this_process_are_told(response, reason):
    with pytest.raises(RewardError, match=f"1 attempts failed.*{reason}"):
        Guarded(misbehave)("", response)


@pytest.mark.parametrize(("response", "reason"), FAILURES_CUT_OFF.items())
def test_failures_in_its_own_process_are_told_and_do_not_outlast_the_call(response, reason):
    guarded = Guarded(misbehave, timeout=2.0 if response == "hang" else 60.0)
    with pytest.raises(RewardError, match=reason):
        guarded("", response)
    assert guarded("", "four") == 4.0


def test_a_fallback_is_counted():
    guarded = Guarded(misbehave, timeout=0.2, fallback=-1.0)
    assert [guarded("", r) for r in ("ab", "hang", "raise", "nan", "abc")] == [2, -1, -1, -1, 3]
    assert guarded.fallbacks == 3
    assert "Received: nan" in guarded.last_failure


class Flaky:
    """Fails a number of times, then works."""

    def __init__(self, failures):
        self.left = failures

    def __call__(self, prompt, response):
        self.left -= 1
        if self.left >= 0:
            raise ConnectionError("try again")
        return 1.0


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_retries_are_bounded(timeout):
    assert Guarded(Flaky(2), timeout, retries=2)("", "") == 1.0
    with pytest.raises(RewardError, match="3 attempts failed, the last with ConnectionError"):
        Guarded(Flaky(3), timeout, retries=2)("", "")


def its_process(prompt, response):
    return os.getpid()


def starts_others(prompt, response):
    """Starts a child, and one that is in a session of its own and whose parent ends; then hangs, if asked.
    Returns the child's number."""
    detached = "import subprocess as s; s.Popen(['sleep', '600'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", detached], check=True)
    child = subprocess.Popen(["sleep", "600"])
    while response == "hang":
        time.sleep(1)
    return child.pid


def below(pid):
    """Processes of this number and those it started, that are running."""
    found, parents = set(), {}
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(file.parent.name)] = int(parent)
    left = {pid} & parents.keys()
    while left:
        found |= left
        left = {child for child, parent in parents.items() if parent in left}
    return found


def wait_until_gone(pids):
    for _ in range(200):
        left = {pid for pid in pids if pid in below(pid)}
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {left}")


needs_proc = pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="reads /proc")


@needs_proc
@pytest.mark.parametrize("how", ["close", "with", "exception", "del", "hang"])
def test_a_functions_process_ends_with_all_it_started(how):
    guarded = Guarded(starts_others, timeout=2.0 if how == "hang" else 60.0)
    guarded("", "")
    pids = below(guarded._function._process.pid)
    assert len(pids) == 3
    if how == "close":
        guarded.close()
    elif how == "with":
        with guarded:
            pass
    elif how == "exception":
        with contextlib.suppress(KeyError), guarded:
            raise KeyError
    elif how == "del":
        del guarded
    else:
        with pytest.raises(RewardError, match="no answer within 2 seconds"):
            guarded("", "hang")
    wait_until_gone(pids)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), 9)",
        pytest.param("sys.exit(3)", marks=pytest.mark.slow),
        pytest.param("1 / 0", marks=pytest.mark.slow),
    ],
)
def test_no_process_outlasts_its_parent(end):
    """However the parent ends; while the function hangs, too."""
    program = f"""
import os, subprocess, sys, threading, time
from tfalign.child_process import ChildFunction
def hangs(prompt, response):
    child = subprocess.Popen(["sleep", "600"])
    print(os.getpid(), child.pid, flush=True)
    while response == "hang":
        time.sleep(1)
    return 0.0
first, second = ChildFunction(hangs, 60.0), ChildFunction(hangs, 60.0)
first("", "")
threading.Thread(target=second, args=("", "hang"), daemon=True).start()
os.read(0, 1)
{end}
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        pids = {int(pid) for _ in range(2) for pid in parent.stdout.readline().split()}
        assert len(pids) == 4
        parent.stdin.write("\n")
        parent.stdin.close()
        parent.wait(60)
    wait_until_gone(pids)


def test_what_is_closed_is_refused():
    guarded = Guarded(misbehave, timeout=60.0, fallback=0.0)
    guarded.close()
    guarded.close()
    with pytest.raises(RewardError, match="was closed"):
        guarded("", "four")
    with Guarded(misbehave) as plain:
        assert plain("", "four") == 4.0
    with pytest.raises(RewardError, match="was closed"):
        plain("", "four")


def test_eight_threads_get_their_own_scores():
    """With failures in between, which end the process that all of them use."""
    texts = ["x" * length if length % 5 else "raise" for length in range(1, 41)]
    with (
        Guarded(slow_length, timeout=60.0, fallback=-1.0) as guarded,
        ThreadPoolExecutor(8) as threads,
    ):
        scores = list(threads.map(lambda text: guarded("", text), texts))
        assert guarded.fallbacks == 8
    assert scores == [-1.0 if text == "raise" else len(text) for text in texts]


def slow_length(prompt, response):
    time.sleep(0.002)
    return misbehave(prompt, response)


def test_copies_and_forks_have_processes_of_their_own():
    with Guarded(its_process, timeout=60.0) as guarded:
        first = guarded("", "")
        for other in (copy.deepcopy(guarded), pickle.loads(pickle.dumps(guarded))):
            with other:
                assert other("", "") not in (first, os.getpid())
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply(in_another_process, (first,))
        assert guarded("", "") == first


def in_another_process(first):
    """In a fork: what was inherited is the parent's."""
    from tfalign.child_process import _children

    return all(child._process is None for child in _children)


def test_an_interrupt_leaves_no_answer_for_the_next_call():
    guarded = Guarded(slow, timeout=5.0)
    assert guarded("", "first") == 5.0

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            guarded("", "slow")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert guarded("", "second") == 6.0


def slow(prompt, response):
    if response == "slow":
        time.sleep(0.5)
    return len(response)


@pytest.mark.slow
def test_processes_that_start_from_nothing_work_too():
    guarded = Guarded(misbehave, timeout=2.0, start_method="spawn")
    assert guarded("", "four") == 4.0
    with pytest.raises(RewardError, match="no answer within 2 seconds"):
        guarded("", "hang")
    with pytest.raises(RewardError, match="pickle"):
        Guarded(lambda prompt, response: 1.0, timeout=2.0, start_method="spawn")("", "")


def test_a_row_whose_function_raises_is_named():
    ids, mask = np.zeros((3, 2), "int32"), np.ones((3, 2), "bool")
    ids[2, 1] = 1
    function = Guarded(misbehave, retries=1)
    reward = TextReward(function, lambda row: "raise" if row == [1] else "fine")
    with pytest.raises(RewardError, match="row 2 failed.*2 attempts.*KeyError: 'no such key'"):
        reward(ids, mask, mask[:, 1:])


@pytest.mark.parametrize(
    "options", [{"timeout": 0.0}, {"timeout": float("nan")}, {"retries": -1}, {"fallback": 1e999}]
)
def test_refuses(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Guarded(misbehave, **options)
