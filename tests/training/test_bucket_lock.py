"""The lock of a run in a bucket: one living holder, and none for ever."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid

import pytest

from tfalign.files import as_path
from tfalign.training import bucket_lock
from tfalign.training.bucket_lock import BucketLock
from tfalign.training.lock_records import RunInUseError, own_record, read_record
from tfalign.training.run_directory import RunDirectory
from tfalign.training.run_lock import RunLock


@pytest.fixture
def file(monkeypatch):
    monkeypatch.setattr(bucket_lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(bucket_lock, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(bucket_lock, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(bucket_lock, "_LOOK_SECONDS", 0.05)
    return as_path(f"memory://{uuid.uuid4().hex}/run/run.lock")


def write(file, **changes):
    file.write_bytes(json.dumps(own_record() | {"id": "other", "beat": 0} | changes).encode())


def test_a_living_process_of_this_machine_keeps_it(file):
    lock = BucketLock(file)
    with pytest.raises(RunInUseError, match=f"in use by process {os.getpid()}"):
        BucketLock(file)
    lock.give_back()
    assert not file.exists()
    BucketLock(file).give_back()


def test_a_process_of_this_machine_that_is_gone_loses_it_at_once(file, monkeypatch):
    monkeypatch.setattr(bucket_lock.BucketLock, "_renew", lambda self: None)
    monkeypatch.setattr(bucket_lock, "LEASE_SECONDS", 1e9)
    write(file, pid=2**22 + 1)
    BucketLock(file).give_back()


def test_another_machine_that_is_gone_loses_it_after_the_lease(file):
    write(file, host="preempted", pid=7)
    lock = BucketLock(file)
    assert read_record(file)["pid"] == os.getpid()
    lock.give_back()


def test_another_machine_that_renews_it_keeps_it(file):
    ended = threading.Event()

    def renew():
        for beat in range(1000):
            write(file, host="other", pid=7, beat=beat)
            if ended.wait(0.05):
                return

    thread = threading.Thread(target=renew)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(RunInUseError, match="in use by process 7 on other"):
        BucketLock(file)
    ended.set()
    thread.join()


def test_who_lost_it_is_told_before_it_writes(file):
    with RunDirectory(file.parent, {"steps": 1}) as run:
        checkpointer = run.checkpointer("sft")
        write(file, host="other", pid=7)
        for _ in range(200):
            time.sleep(0.02)
            if not any(one.name == "run.lock" for one in threading.enumerate()):
                break
        with pytest.raises(RunInUseError, match="taken over by process 7 on other"):
            checkpointer.save(1, {}, {})
    assert read_record(file)["pid"] == 7  # it is not ours to remove


def test_a_process_may_take_it_twice(file):
    with RunLock(file.parent), RunLock(file.parent):
        assert file.exists()
    assert not file.exists()
