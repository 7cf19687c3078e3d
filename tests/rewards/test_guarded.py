"""A user's reward function that raises, hangs, dies or returns nonsense."""

from __future__ import annotations

import contextlib
import os
import signal
import time

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


def test_the_process_goes_when_nobody_needs_it():
    guarded = Guarded(lambda prompt, response: os.getpid(), timeout=5.0)
    process = guarded._function
    assert guarded("", "") == guarded("", "") == process._process.pid != os.getpid()
    process._pipe.close()
    process._process.join(10)
    assert process._process.exitcode == 0


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
