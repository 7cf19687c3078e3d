"""Checkpoints in a bucket: broken off before any change of the bucket, the old one or the new one is there, whole."""

from __future__ import annotations

import itertools
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfalign.files import RemotePath, as_path
from tfalign.training.bucket_checkpoint import BucketCheckpointer
from tfalign.training.checkpoint_files import CheckpointError, Part
from tfalign.training.processes import Processes

CHANGES = ("write_bytes", "upload", "unlink")


@pytest.fixture
def folder():
    return as_path(f"memory://{uuid.uuid4().hex}/checkpoints/sft")


def save(folder, step, value, **choices):
    arrays = {"weights": np.full(5, value, "float32")}
    BucketCheckpointer(folder, keep_last=2, **choices).save(step, arrays, {"value": value})


def restored(folder):
    """(step, value) of the newest checkpoint, which is whole."""
    step, arrays, state = BucketCheckpointer(folder).restore()
    np.testing.assert_array_equal(arrays["weights"], np.full(5, state["value"], "float32"))
    return step, state["value"]


class Killed(BaseException):
    pass


def break_off(monkeypatch, after, function):
    """Calls a function that is killed before its change number ``after``; returns whether it was."""
    left = iter(range(after))

    def limited(method):
        def call(*arguments, **more):
            if next(left, None) is None:
                raise Killed
            return method(*arguments, **more)

        return call

    with monkeypatch.context() as patch:
        for name in CHANGES:
            patch.setattr(RemotePath, name, limited(getattr(RemotePath, name)))
        try:
            function()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("again", [False, True], ids=["next step", "same step"])
def test_a_save_that_is_killed_anywhere_loses_nothing(folder, monkeypatch, again):
    step = 3 if again else 4
    for after in itertools.count():
        place = folder / str(after)
        for number in (1, 2, 3):
            save(place, number, number)
        killed = break_off(monkeypatch, after, lambda place=place: save(place, step, 9))
        assert restored(place) in [(3, 3), (step, 9)]
        if not killed:
            assert after >= 3 and restored(place) == (step, 9)
            break
        save(place, 5, 5)  # removes what the killed one left
        steps = BucketCheckpointer(place).steps()
        assert steps[-1] == 5 and len(steps) == 2
        assert len(list(place.rglob())) == 4  # arrays and record of each


def test_checkpoints_that_are_forgotten_are_gone(folder, monkeypatch):
    for number in (1, 2):
        save(folder, number, number)
    assert break_off(monkeypatch, 1, lambda: BucketCheckpointer(folder).forget_after(1))
    assert BucketCheckpointer(folder).steps() == [1]
    BucketCheckpointer(folder).forget_after(1)
    assert restored(folder) == (1, 1)


def test_a_damaged_checkpoint_is_told_by_its_name_in_the_bucket(folder):
    save(folder, 1, 1)
    (file,) = folder.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=f"{file} is damaged"):
        BucketCheckpointer(folder).restore()


def test_several_processes_write_one_checkpoint(folder):
    whole = np.arange(8.0)
    barrier, said = threading.Barrier(2), {}

    def process(index):
        def gather(value):
            said[index] = value
            barrier.wait()
            values = [said[0], said[1]]
            barrier.wait()
            return values

        half = Part((8,), (4 * index,), whole[4 * index : 4 * index + 4])
        checkpointer = BucketCheckpointer(folder, processes=Processes(index, gather))
        checkpointer.save(1, {"weights": [half]}, {"by": index})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(process, range(2)))
    _, arrays, state = BucketCheckpointer(folder).restore()
    np.testing.assert_array_equal(arrays["weights"], whole)
    assert state == {"by": 0}
    assert len(list(folder.rglob())) == 3
