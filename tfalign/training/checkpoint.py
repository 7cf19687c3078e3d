"""Checkpoints that a kill at any moment cannot spoil: safetensors and JSON, renamed into place.

    checkpoints/
      step-00000010/
        arrays.safetensors
        state.json          format version, step, size and CRC-32 of the arrays, the caller's state, and
                            the CRC-32 of all this

A checkpoint is written under a hidden name beside its final one, synced to the disk and renamed; a
name ``step-...`` is therefore always a whole checkpoint. Hidden leftovers of a killed save are
ignored by readers and removed by the next save.

Several processes that hold parts of the arrays write a file each, ``arrays-00002-of-00004.safetensors``,
into one folder, which the first of them renames when all are done. Whoever restores gets the arrays
whole, with as many processes as there are then.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfalign.files import WRITING, AnyPath, as_path, hidden, remove, sync_directory, write_synced
from tfalign.training.checkpoint_files import (
    FORMAT_VERSION,
    STATE,
    CheckpointError,
    Part,
    Restored,
    file_name,
    read,
    record_bytes,
    size_and_crc32,
    write_arrays,
)
from tfalign.training.processes import ALONE, Processes

STEP_NAME = re.compile(r"step-(\d{8,})")
_REPLACED, _REMOVED = ".replaced", ".removed"
_HIDDEN_NAME = re.compile(r"\.step-(\d{8,})\.(writing|replaced|removed)")


@dataclasses.dataclass
class Begun:
    """A checkpoint that is being written.

    Attributes:
        step: int.
        final, writing: its folder, and the one it is written into.
        names: of every process's file.
        size, checksum: of what this process wrote.
        failure: why it could not.
    """

    step: int
    final: AnyPath
    writing: AnyPath
    names: Sequence[str] = ()
    size: int = 0
    checksum: int = 0
    failure: Exception | None = None


class Checkpointer:
    """Saves and restores numbered checkpoints in one directory.

    Args:
        directory: where the ``step-...`` folders live, seen by all processes; made when absent.
        keep_last: int > 0, how many of the highest steps a save leaves in place.
        processes: Processes that save together: all must call ``save``.
        before: called by the first of them before a checkpoint is whole.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        keep_last: int = 3,
        processes: Processes = ALONE,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1. Received: keep_last={keep_last}")
        self.directory = as_path(directory)
        self.keep_last = keep_last
        self.processes = processes
        self._before = before
        self.directory.mkdir(parents=True, exist_ok=True)

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray | Sequence[Part]],
        state: Mapping[str, Any],
    ) -> AnyPath:
        """Writes a checkpoint; when this returns, it is on the disk and survives a kill.

        A checkpoint of the same step is replaced; until the new one is whole, the old one counts.

        Args:
            step: int >= 0.
            arrays: name -> array of any shape, or its parts that this process holds; dtypes those of
                safetensors, bfloat16 among them. Each number is given by one process alone.
            state: JSON-able, finite numbers; comes back equal (tuples as lists). The first process's
                is kept.

        Returns:
            The folder of the checkpoint.

        Raises:
            CheckpointError: if an array or the state cannot be stored or is not finite, or another
                process failed; nothing has changed then.
        """
        begun = self.begin(step)
        self.write(begun, arrays)
        return self.finish(begun, state)

    def begin(self, step: int) -> Begun:
        """The first of three parts of ``save``; the processes do it together."""
        if step < 0:
            raise ValueError(f"a checkpoint's step must not be negative. Received: step={step}")
        final = self.directory / f"step-{step:08d}"
        begun = Begun(step, final, self._writing(final))
        self._chief_first(lambda: self._begin(begun.writing))
        begun.names = self._names(len(self.processes.gather(0)))
        return begun

    def write(self, begun: Begun, arrays: Mapping[str, Any]) -> None:
        """The second part, which takes the time: what this process has goes into its file. No other process is asked
        for anything, so that another thread may do it; a failure is told by ``finish``."""
        index = self.processes.index
        try:
            if arrays or index == 0:
                file = begun.writing / begun.names[index]
                begun.size, begun.checksum = self._write_file(file, arrays)
        except (CheckpointError, OSError) as error:
            begun.failure = error

    def finish(self, begun: Begun, state: Mapping[str, Any]) -> AnyPath:
        """The third part, which the processes do together when all have written."""
        record = {"format_version": FORMAT_VERSION, "step": begun.step}
        record |= {"arrays": self._written(begun), "state": dict(state)}
        self._chief_first(lambda: self._finish(begun.writing, begun.final, record))
        return begun.final

    def _writing(self, final: AnyPath) -> AnyPath:
        """The folder that a checkpoint is written into."""
        return hidden(final, WRITING)

    def _begin(self, writing: Path) -> None:
        self._clean()
        writing.mkdir()

    def _written(self, begun: Begun) -> list[dict[str, Any]]:
        """What the record says of every process's file."""
        index, gather = self.processes
        has_failed = gather(int(begun.failure is not None))
        sizes, checksums = gather(begun.size), gather(begun.checksum)
        if any(has_failed):
            if index == 0:
                self._give_up(begun.writing)
            raise begun.failure or CheckpointError(
                f"{begun.writing}: process {has_failed.index(1)} of {len(has_failed)} could not write its part"
            )
        return [
            {"file": name, "bytes": size, "crc32": checksum}
            for name, size, checksum in zip(begun.names, sizes, checksums)
            if size
        ]

    def _names(self, count: int) -> list[str]:
        """Of every process's file."""
        return [file_name(number, count) for number in range(count)]

    def _write_file(self, file: Path, arrays: Mapping[str, Any]) -> tuple[int, int]:
        write_arrays(file, arrays)
        return size_and_crc32(file)

    def _give_up(self, writing: Path) -> None:
        remove(writing)

    def _finish(self, writing: Path, final: Path, record: Mapping[str, Any]) -> None:
        try:
            self._before()
            write_synced(writing / STATE, record_bytes(writing / STATE, record))
        except (ValueError, OSError):
            remove(writing)
            raise
        sync_directory(writing)
        if final.exists():
            os.replace(final, hidden(final, _REPLACED))
        os.replace(writing, final)
        sync_directory(self.directory)
        self._prune()

    def _chief_first(self, function: Callable[[], None]) -> None:
        """The first process does something, and all go on when it has; or all raise."""
        otherwise = f"{self.directory}: the first process could not write the checkpoint"
        self.processes.first_alone(function, CheckpointError(otherwise))

    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, ascending."""
        return sorted(self._folders())

    def latest(self) -> int | None:
        """The highest step with a whole checkpoint, or None."""
        return max(self._folders(), default=None)

    def restore(self, step: int | None = None) -> Restored:
        """Reads a checkpoint and verifies its size and checksum.

        Args:
            step: which one; None for the latest.

        Returns:
            (step, arrays, state); the arrays are writable and changing them leaves the file alone.

        Raises:
            CheckpointError: if there is none, the files are not what was written, or a number in
                them is not finite.
        """
        folders = self._folders()
        if step is None:
            step = max(folders, default=None)
        if step not in folders:
            wanted = "none" if step is None else f"no step {step}"
            raise CheckpointError(
                f"{self.directory} holds {wanted} to restore. Received: steps={sorted(folders)}"
            )
        return read(folders[step], step)

    def forget_after(self, step: int) -> None:
        """Removes the checkpoints of later steps, once every process has read what it needs."""

        def forget() -> None:
            self._remove([later for later in self.steps() if later > step])

        self.processes.gather(0)
        self._chief_first(forget)

    def _folders(self) -> dict[int, Path]:
        """Step -> folder; a replaced one counts where a kill came before its successor."""
        finals, replaced = {}, {}
        for path in self.directory.iterdir():
            if match := STEP_NAME.fullmatch(path.name):
                finals[int(match[1])] = path
            elif (match := _HIDDEN_NAME.fullmatch(path.name)) and path.suffix == _REPLACED:
                replaced[int(match[1])] = path
        return replaced | finals

    def _clean(self) -> None:
        """Undoes what a killed save left behind."""
        for step, path in self._folders().items():
            if path.suffix == _REPLACED:
                os.replace(path, self.directory / f"step-{step:08d}")
        self._remove_hidden()

    def _prune(self) -> None:
        """Removes all but the last ones, and leftovers."""
        self._remove(self.steps()[: -self.keep_last])
        self._remove_hidden()

    def _remove(self, steps: Sequence[int]) -> None:
        """Removes checkpoints; renamed first, so that no half of one is ever seen."""
        folders = self._folders()
        for step in steps:
            os.replace(folders[step], hidden(self.directory / f"step-{step:08d}", _REMOVED))
        self._remove_hidden(_REMOVED)

    def _remove_hidden(self, suffix: str = "") -> None:
        for path in list(self.directory.iterdir()):
            if _HIDDEN_NAME.fullmatch(path.name) and path.name.endswith(suffix):
                remove(path)


def check_arrays(
    expected: Mapping[str, Any], arrays: Mapping[str, Any], file: str | os.PathLike
) -> None:
    """Raises unless ``arrays`` has exactly the expected names, shapes and dtypes; but a signed integer may
    have another width, as an optimizer's counter has 64 bits on TensorFlow and 32 on JAX.

    Args:
        expected: name -> anything with ``shape`` and ``dtype`` (an array, a Keras variable).
        arrays: name -> array, as read.
        file: where they were read from, for the message.

    Raises:
        CheckpointError: naming the file and the first tensor that is missing, unknown, of another
            shape or of another dtype.
    """
    for name, wanted in expected.items():
        if name not in arrays:
            raise CheckpointError(f"{file}: tensor {name!r} is missing.")
        shape, wanted_shape = tuple(arrays[name].shape), tuple(wanted.shape)
        if shape != wanted_shape:
            raise CheckpointError(
                f"{file}: tensor {name!r} must have shape {wanted_shape}. Received: shape={shape}"
            )
        dtype, wanted_dtype = _dtype_name(arrays[name]), _dtype_name(wanted)
        if dtype != wanted_dtype and {_kind(dtype), _kind(wanted_dtype)} != {"i"}:
            raise CheckpointError(
                f"{file}: tensor {name!r} must have dtype {wanted_dtype}. Received: dtype={dtype}"
            )
    for name in arrays:
        if name not in expected:
            raise CheckpointError(f"{file}: tensor {name!r} is not one of this model's.")


def _kind(dtype):
    return np.dtype(dtype).kind


def _dtype_name(array: Any) -> str:
    return array.dtype if isinstance(array.dtype, str) else np.dtype(array.dtype).name
