"""Checkpoints come back whole or not at all, whatever happens to the writer."""

import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import ml_dtypes
import numpy as np
import pytest

import tfalign
from tfalign.files import write_bytes_atomically, write_json_atomically, write_text_atomically
from tfalign.training import checkpoint_files
from tfalign.training.checkpoint import Checkpointer, CheckpointError, Part, Processes, check_arrays

ARRAYS = {
    "half": np.array([[1.5, -2.0], [0.1, 3e38]], ml_dtypes.bfloat16),
    "scalar": np.asarray(np.float32(0.1)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
    "key": np.array([2**63 + 1], np.uint64),
    "层/权重": np.array([7], np.int32),
}
STATE = {"epoch": 3, "kl": {"coefficient": 0.1, "target": None}, "name": "客服"}


def small(step: int) -> dict[str, np.ndarray]:
    return {"weights": np.full(5000, step, np.float32), "bias": np.full(3, -step, np.int64)}


def assert_is_small(restored) -> None:
    expected = small(restored.step)
    assert restored.arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(restored.arrays[name], array)
    assert restored.state == {"step": restored.step}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    Checkpointer(tmp_path).save(10, ARRAYS, STATE)
    step, arrays, state = Checkpointer(tmp_path).restore()
    assert step == 10
    assert state == STATE
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype, name
        assert arrays[name].shape == array.shape, name
        assert arrays[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_neither_written_nor_loaded(tmp_path, dtype, value):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, small(1), {"step": 1})
    spoiled = np.ones((3, 4), dtype)
    spoiled[2, 1] = value
    sentence = r"arrays.safetensors: tensor 'model/kernel' must be finite. Received: 1 of 12 numbers are not$"
    for arrays in (spoiled, [Part((6, 4), (3, 0), spoiled)]):
        name = r"model/kernel(#0)?"
        with pytest.raises(CheckpointError, match=sentence.replace("model/kernel", name)):
            checkpointer.save(2, small(2) | {"model/kernel": arrays}, {"step": 2})
        assert names(tmp_path) == ["step-00000001"]
    assert_is_small(checkpointer.restore())
    with mock.patch.object(checkpoint_files, "check_finite"):  # one written by someone else
        checkpointer.save(2, small(2) | {"model/kernel": spoiled}, {"step": 2})
    with pytest.raises(CheckpointError, match="step-00000002/" + sentence):
        checkpointer.restore()
    assert_is_small(checkpointer.restore(1))


def test_one_number_of_millions_is_found(tmp_path):
    large = np.ones(3 * 2**20 + 5, np.float32)
    large[-1] = np.nan
    with pytest.raises(CheckpointError, match="'large' must be finite. Received: 1 of 3145733"):
        Checkpointer(tmp_path).save(1, {"large": large}, {})


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_are_as_the_umask_permits(tmp_path, umask):
    before = os.umask(umask)
    try:
        folder = Checkpointer(tmp_path / "new").save(1, small(1), {})
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666 & ~umask}


def test_restored_arrays_are_the_callers_own(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, small(1), {"step": 1})
    checkpointer.restore().arrays["weights"][:] = 99
    assert_is_small(checkpointer.restore())


def test_the_last_ones_are_kept_and_each_can_be_restored(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep_last=2)
    for step in (8, 9, 10, 100_000_000):
        checkpointer.save(step, small(step), {"step": step})
    assert names(tmp_path) == ["step-00000010", "step-100000000"]
    assert checkpointer.steps() == [10, 100_000_000]
    assert checkpointer.latest() == 100_000_000
    assert checkpointer.restore(10).step == 10


def together(count, save):
    """``save(Processes)`` in each of several threads that stand for processes: what each returned or raised."""
    barrier, said = threading.Barrier(count), [0] * count

    def of(index):
        def gather(value):
            barrier.wait(timeout=60)
            said[index] = value
            barrier.wait(timeout=60)
            found = list(said)
            barrier.wait(timeout=60)
            return found

        try:
            return save(Processes(index, gather))
        except CheckpointError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(of, range(count)))


def quarters(index):
    """What the ``index``-th of two processes holds of an array that four devices share as 2 x 2 blocks."""
    return [
        Part((4, 6), (2 * index, column), WHOLE[2 * index : 2 * index + 2, column : column + 3])
        for column in (0, 3)
    ]


WHOLE = np.arange(24.0).reshape(4, 6)


def test_several_processes_write_their_parts_and_anyone_reads_the_whole(tmp_path):
    def save(processes):
        arrays = {"shared": quarters(processes.index)} | (small(5) if processes.index == 0 else {})
        state = {"step": 5, "who": processes.index}
        return Checkpointer(tmp_path, processes=processes).save(5, arrays, state)

    assert together(2, save) == [tmp_path / "step-00000005"] * 2
    files = [f"arrays-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert names(tmp_path / "step-00000005") == [*files, "state.json"]
    step, arrays, state = Checkpointer(tmp_path).restore()
    np.testing.assert_array_equal(arrays.pop("shared"), WHOLE)
    assert (step, state) == (5, {"step": 5, "who": 0})
    assert arrays.keys() == small(5).keys()
    (tmp_path / "step-00000005" / files[1]).unlink()
    with pytest.raises(CheckpointError, match=rf"{files[1]} is missing"):
        Checkpointer(tmp_path).restore()


def test_parts_that_are_not_the_whole_are_not_restored(tmp_path):
    def save(processes):
        parts = quarters(processes.index)[: 2 - processes.index]
        return Checkpointer(tmp_path, processes=processes).save(5, {"shared": parts}, {})

    together(2, save)
    with pytest.raises(CheckpointError, match=r"tensor 'shared' .*Received: 18 of 24 numbers"):
        Checkpointer(tmp_path).restore()


def test_processes_that_hold_nothing_write_nothing(tmp_path):
    """As copies of the first one do."""

    def save(processes):
        arrays = small(1) if processes.index == 0 else {}
        return Checkpointer(tmp_path, processes=processes).save(1, arrays, {"step": 1})

    together(3, save)
    assert names(tmp_path / "step-00000001") == ["arrays-00001-of-00003.safetensors", "state.json"]
    assert_is_small(Checkpointer(tmp_path).restore())


@pytest.mark.parametrize("failing", [0, 1])
def test_what_one_process_cannot_write_is_told_by_all(tmp_path, failing):
    def save(step, bad, processes):
        array = np.array(["text"]) if processes.index == bad else np.zeros(3)
        arrays = {f"of {processes.index}": array}
        return Checkpointer(tmp_path, processes=processes).save(step, arrays, {"step": step})

    together(2, functools.partial(save, 1, None))
    errors = together(2, functools.partial(save, 2, failing))
    assert "tensor 'of" in str(errors[failing]) and "must be numeric" in str(errors[failing])
    assert f"process {failing} of 2 could not write its part" in str(errors[1 - failing])
    assert names(tmp_path) == ["step-00000001"]
    state = {"step": float("nan")}
    errors = together(2, lambda ps: Checkpointer(tmp_path, processes=ps).save(3, small(3), state))
    assert "as JSON" in str(errors[0]) and "the first process could not" in str(errors[1])
    assert names(tmp_path) == ["step-00000001"]


def test_saving_a_step_again_replaces_it(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(4, {"weights": np.zeros(2)}, {"first": True})
    checkpointer.save(4, small(4), {"step": 4})
    assert_is_small(checkpointer.restore(4))
    assert names(tmp_path) == ["step-00000004"]


def test_an_empty_directory_has_no_latest_and_says_so(tmp_path):
    checkpointer = Checkpointer(tmp_path / "new")
    assert checkpointer.latest() is None
    with pytest.raises(CheckpointError, match=r"holds none to restore. Received: steps=\[\]"):
        checkpointer.restore()
    checkpointer.save(3, small(3), {"step": 3})
    with pytest.raises(CheckpointError, match=r"holds no step 4 to restore. Received: steps=\[3\]"):
        checkpointer.restore(4)


class Crash(BaseException):
    """Stands for the end of the process: nothing but the test catches it."""


def crash_before_call(monkeypatch, number: int) -> None:
    """The ``number``-th call that touches the disk does half its work, and all is over."""
    calls = itertools.count()

    def crashing(function, half):
        def call(*arguments, **keywords):
            if next(calls) == number:
                half(*arguments)
                raise Crash
            return function(*arguments, **keywords)

        return call

    def nothing(*_):
        pass

    def half_a_file(_, file, places):
        Path(file).write_bytes(b"half")

    def half_a_tree(path):
        min(Path(path).iterdir()).unlink()

    monkeypatch.setattr(os, "replace", crashing(os.replace, nothing))
    monkeypatch.setattr(os, "fsync", crashing(os.fsync, nothing))
    monkeypatch.setattr(shutil, "rmtree", crashing(shutil.rmtree, half_a_tree))
    monkeypatch.setattr(
        checkpoint_files, "save_file", crashing(checkpoint_files.save_file, half_a_file)
    )


@pytest.mark.parametrize("new_step", [2, 3], ids=["same step", "next step"])
def test_a_crash_before_any_call_leaves_the_old_or_the_new(tmp_path, monkeypatch, new_step):
    found = []
    for number in itertools.count():
        directory = tmp_path / str(number)
        Checkpointer(directory, keep_last=1).save(2, {"old": np.zeros(2)}, {"old": True})
        with monkeypatch.context() as patches:
            crash_before_call(patches, number)
            try:
                Checkpointer(directory, keep_last=1).save(
                    new_step, small(new_step), {"step": new_step}
                )
                finished = True
            except Crash:
                finished = False
        restored = Checkpointer(directory).restore()
        if restored.state == {"old": True}:
            assert restored.step == 2
            assert restored.arrays.keys() == {"old"}
            found.append("old")
        else:
            assert restored.step == new_step
            assert_is_small(restored)
            found.append("new")
        for step in Checkpointer(directory).steps():
            Checkpointer(directory).restore(step)
        Checkpointer(directory, keep_last=1).save(9, small(9), {"step": 9})
        assert names(directory) == ["step-00000009"], "leftovers are cleaned"
        if finished:
            break
    # Arrays written and synced, state synced, folder synced, renamed, parent synced, pruned.
    assert len(found) > 6
    assert found == sorted(found, reverse=True)
    assert set(found) == {"old", "new"}


WRITER = """
import sys
import numpy as np
from tfalign.training.checkpoint import Checkpointer
assert not {"tensorflow", "keras"} & set(sys.modules)
checkpointer = Checkpointer(sys.argv[1], keep_last=2)
step = checkpointer.restore().step if checkpointer.latest() else 0
while True:
    step += 1
    arrays = {"weights": np.full(5000, step, np.float32), "bias": np.full(3, -step, np.int64)}
    checkpointer.save(step, arrays, {"step": step})
    print(step, flush=True)
"""


def test_a_writer_killed_at_random_moments_always_leaves_a_whole_checkpoint(tmp_path):
    moments = random.Random(0)
    environment = os.environ | {"PYTHONPATH": str(Path(tfalign.__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    saved = 0
    for _ in range(15):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        first = process.stdout.readline()
        time.sleep(moments.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        steps = [int(line) for line in (first + rest).split("\n")[:-1]]
        assert steps[0] in (saved + 1, saved + 2), "it went on where it was killed"
        restored = Checkpointer(tmp_path).restore()
        assert restored.step in (steps[-1], steps[-1] + 1), "a save that returned is not lost"
        assert_is_small(restored)
        saved = steps[-1]


def test_damage_is_noticed_and_named(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    folder = checkpointer.save(1, small(1), {"step": 1})
    file = folder / "arrays.safetensors"
    whole = file.read_bytes()

    file.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors is truncated .* Received: \d+"):
        checkpointer.restore()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors is damaged: its CRC-32"):
        checkpointer.restore()
    file.unlink()
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors is missing"):
        checkpointer.restore()
    file.write_bytes(whole)
    assert_is_small(checkpointer.restore())


def test_any_damage_of_the_state_is_noticed(tmp_path, fuzz_cases):
    """One byte is another one, or gone: restored as it was written, or told in a sentence."""
    checkpointer = Checkpointer(tmp_path)
    file = checkpointer.save(1, small(1), {"step": 1}) / "state.json"
    whole, dice = file.read_bytes(), random.Random(0)
    noticed = 0
    for _ in range(fuzz_cases(200)):
        at = dice.randrange(len(whole))
        file.write_bytes(
            whole[:at] + bytes(dice.choices(range(256), k=dice.randrange(2))) + whole[at + 1 :]
        )
        try:
            assert_is_small(checkpointer.restore())
        except CheckpointError:
            noticed += 1
    assert noticed


def test_later_checkpoints_are_forgotten(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    for step in (1, 2, 3):
        checkpointer.save(step, small(step), {"step": step})
    checkpointer.forget_after(2)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("limit", [0, 100, 5_000])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, full_disk, limit):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, small(1), {"step": 1})
    told = (
        r"step-00000002.writing.*(No space left|too large)|(No space left|too large).*step-00000002"
    )
    with full_disk(limit), pytest.raises((CheckpointError, OSError), match=told):
        checkpointer.save(2, small(2), {"step": 2})
    assert names(tmp_path) == ["step-00000001"]
    assert_is_small(checkpointer.restore())
    checkpointer.save(2, small(2), {"step": 2})


def test_a_full_disk_that_the_arrays_still_fit_on(tmp_path, full_disk):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, small(1), {"step": 1})
    with full_disk(500), pytest.raises(OSError, match="state.json"):
        checkpointer.save(2, {}, {"long": "x" * 1000})
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], r"state\.json is damaged: it is not JSON"),
        (lambda text: "[]", r"format must be 2\. Received: format_version=None"),
        (
            lambda text: text.replace('"format_version": 2', '"format_version": 1'),
            r"format must be 2\. Received: format_version=1",
        ),
        (
            lambda text: text.replace('"step": 1,', '"step": 5,', 1),
            r"folder's name says step 1\. Received: step=5",
        ),
    ],
)
def test_a_damaged_state_is_named(tmp_path, change, message):
    checkpointer = Checkpointer(tmp_path)
    file = checkpointer.save(1, small(1), {"step": 1}) / "state.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(CheckpointError, match=message):
        checkpointer.restore()


@pytest.mark.parametrize(
    ("arrays", "state", "message"),
    [
        ({"words": np.array(["a"])}, {}, r"tensor 'words' must be numeric. Received: dtype=<U1"),
        ({"wide": np.zeros(2, np.complex128)}, {}, r"cannot hold these arrays.*complex128"),
        ({}, {"loss": float("nan")}, r"state\.json cannot hold this value as JSON"),
        ({}, {"array": np.zeros(2)}, r"state\.json cannot hold this value as JSON.*ndarray"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_changes_nothing(tmp_path, arrays, state, message):
    checkpointer = Checkpointer(tmp_path, keep_last=1)
    checkpointer.save(1, small(1), {"step": 1})
    with pytest.raises(CheckpointError, match=message):
        checkpointer.save(2, arrays, state)
    assert names(tmp_path) == ["step-00000001"]
    assert_is_small(checkpointer.restore())


def test_senseless_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Received: keep_last=0"):
        Checkpointer(tmp_path, keep_last=0)
    with pytest.raises(ValueError, match="Received: step=-1"):
        Checkpointer(tmp_path).save(-1, {}, {})


class Variable:
    """What ``check_arrays`` needs of a Keras variable: its dtype is a string."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 3), ml_dtypes.bfloat16)}, "file.st: tensor 'b' is missing."),
        (
            {"a": np.zeros((3, 2), ml_dtypes.bfloat16), "b": np.zeros(())},
            "file.st: tensor 'a' must have shape (2, 3). Received: shape=(3, 2)",
        ),
        (
            {"a": np.zeros((2, 3), np.float32), "b": np.zeros(())},
            "file.st: tensor 'a' must have dtype bfloat16. Received: dtype=float32",
        ),
        (
            {"a": np.zeros((2, 3), ml_dtypes.bfloat16), "b": np.zeros(()), "c": np.zeros(1)},
            "file.st: tensor 'c' is not one of this model's.",
        ),
    ],
    ids=["missing", "mis-shapen", "other dtype", "unknown"],
)
def test_arrays_of_another_model_are_named(arrays, message):
    expected = {"a": Variable((2, 3), "bfloat16"), "b": np.zeros(())}
    with pytest.raises(CheckpointError) as error:
        check_arrays(expected, arrays, "file.st")
    assert str(error.value) == message


def test_arrays_of_this_model_pass():
    check_arrays(
        {"a": Variable((2,), "bfloat16")}, {"a": np.zeros(2, ml_dtypes.bfloat16)}, "file.st"
    )


def test_a_counter_may_have_another_width():
    """An optimizer's has 64 bits on TensorFlow and 32 on JAX; a seed is unsigned, and stays so."""
    check_arrays({"n": Variable((), "int32")}, {"n": np.zeros((), np.int64)}, "file.st")
    with pytest.raises(CheckpointError, match="must have dtype int32. Received: dtype=uint32"):
        check_arrays({"n": Variable((), "int32")}, {"n": np.zeros((), np.uint32)}, "file.st")


def test_a_crash_while_a_file_is_replaced_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    seen = []
    for number in range(4):
        write_json_atomically(file, {"value": "old"})
        with monkeypatch.context() as patches:
            crash_before_call(patches, number)
            with contextlib.suppress(Crash):
                write_json_atomically(file, {"value": "new"})
        seen.append(json.loads(file.read_text())["value"])
    assert seen == ["old", "old", "new", "new"]
    assert names(tmp_path) == ["config.json"]


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    write_text_atomically(tmp_path / "text", "客服\r\n")
    assert (tmp_path / "text").read_bytes() == "客服\r\n".encode()
    write_bytes_atomically(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
