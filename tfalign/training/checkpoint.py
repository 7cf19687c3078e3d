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

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy, for reading and writing
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from tfalign.files import (
    WRITING,
    check_finite,
    hidden,
    local_path,
    sync_directory,
    sync_file,
    to_json,
    write_synced,
)
from tfalign.training.processes import ALONE, Processes

FORMAT_VERSION = 2
_STATE = "state.json"
_STEP_NAME = re.compile(r"step-(\d{8,})")
_REPLACED, _REMOVED = ".replaced", ".removed"
_HIDDEN_NAME = re.compile(r"\.step-(\d{8,})\.(writing|replaced|removed)")


class CheckpointError(ValueError):
    """A checkpoint that is absent, damaged, or of another model."""


class Restored(NamedTuple):
    """What ``Checkpointer.restore`` returns."""

    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


class Part(NamedTuple):
    """A block of an array, of which other processes hold the rest."""

    shape: tuple[int, ...]  # of the whole
    start: tuple[int, ...]  # index of the block's first number
    array: np.ndarray


class Checkpointer:
    """Saves and restores numbered checkpoints in one directory.

    Args:
        directory: where the ``step-...`` folders live, seen by all processes; made when absent.
        keep_last: int > 0, how many of the highest steps a save leaves in place.
        processes: Processes that save together: all must call ``save``.
    """

    def __init__(
        self, directory: str | os.PathLike, keep_last: int = 3, processes: Processes = ALONE
    ):
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1. Received: keep_last={keep_last}")
        self.directory = local_path(directory)
        self.keep_last = keep_last
        self.processes = processes
        self.directory.mkdir(parents=True, exist_ok=True)

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray | Sequence[Part]],
        state: Mapping[str, Any],
    ) -> Path:
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
        if step < 0:
            raise ValueError(f"a checkpoint's step must not be negative. Received: step={step}")
        final = self.directory / f"step-{step:08d}"
        writing = hidden(final, WRITING)
        self._chief_first(lambda: self._begin(writing))
        files = self._write_files(writing, arrays)
        record = {"format_version": FORMAT_VERSION, "step": step, "arrays": files}
        self._chief_first(lambda: self._finish(writing, final, record | {"state": dict(state)}))
        return final

    def _begin(self, writing: Path) -> None:
        self._clean()
        writing.mkdir()

    def _write_files(self, writing: Path, arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Writes what this process has, and returns what the record says of every process's file."""
        index, gather = self.processes
        count = len(gather(0))
        names = [_file_name(number, count) for number in range(count)]
        size, checksum, failure = 0, 0, None
        try:
            if arrays or index == 0:
                _write_arrays(writing / names[index], arrays)
                size, checksum = _size_and_crc32(writing / names[index])
        except (CheckpointError, OSError) as error:
            failure = error
        failed = [at for at, is_failed in enumerate(gather(int(failure is not None))) if is_failed]
        sizes, checksums = gather(size), gather(checksum)
        if failed:
            if index == 0:
                shutil.rmtree(writing)
            raise failure or CheckpointError(
                f"{writing}: process {failed[0]} of {count} could not write its part"
            )
        return [
            {"file": name, "bytes": size, "crc32": checksum}
            for name, size, checksum in zip(names, sizes, checksums)
            if size
        ]

    def _finish(self, writing: Path, final: Path, record: Mapping[str, Any]) -> None:
        try:
            write_synced(writing / _STATE, _record_bytes(writing / _STATE, record))
        except (CheckpointError, OSError):
            shutil.rmtree(writing)
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
        return _read(folders[step], step)

    def forget_after(self, step: int) -> None:
        """Removes the checkpoints of later steps, once every process has read what it needs."""

        def remove() -> None:
            for later, path in self._folders().items():
                if later > step:
                    os.replace(path, hidden(self.directory / f"step-{later:08d}", _REMOVED))
            self._remove_hidden(_REMOVED)

        self.processes.gather(0)
        self._chief_first(remove)

    def _folders(self) -> dict[int, Path]:
        """Step -> folder; a replaced one counts where a kill came before its successor."""
        finals, replaced = {}, {}
        for path in self.directory.iterdir():
            if match := _STEP_NAME.fullmatch(path.name):
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
        """Removes all but the last ones; renamed first, so that no half of one is ever seen."""
        for step, path in sorted(self._folders().items())[: -self.keep_last]:
            os.replace(path, hidden(self.directory / f"step-{step:08d}", _REMOVED))
        self._remove_hidden()

    def _remove_hidden(self, suffix: str = "") -> None:
        for path in list(self.directory.iterdir()):
            if _HIDDEN_NAME.fullmatch(path.name) and path.name.endswith(suffix):
                shutil.rmtree(path)


def check_arrays(expected: Mapping[str, Any], arrays: Mapping[str, Any], file: str | os.PathLike):
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


def _read(folder: Path, step: int) -> Restored:
    record = _read_record(folder / _STATE, step)
    for entry in record["arrays"]:
        _check_file(folder / entry["file"], entry["bytes"], entry["crc32"])
    arrays: dict[str, np.ndarray] = {}
    absent: dict[str, int] = {}
    for entry in record["arrays"]:
        _add_arrays(arrays, absent, folder / entry["file"])
    for name, count in absent.items():
        if count:
            raise CheckpointError(
                f"{folder}: the parts of tensor {name!r} must be the whole of it, once."
                f" Received: {arrays[name].size - count} of {arrays[name].size} numbers"
            )
    return Restored(step, arrays, record["state"])


def _check_file(file: Path, size: int, checksum: int) -> None:
    """Raises unless the file is what was written."""
    if not file.exists():
        raise CheckpointError(f"{file} is missing.")
    if file.stat().st_size != size:
        raise CheckpointError(
            f"{file} is truncated or overgrown: it was written with {size} bytes."
            f" Received: {file.stat().st_size} bytes"
        )
    if _size_and_crc32(file) != (size, checksum):
        raise CheckpointError(f"{file} is damaged: its CRC-32 is not the one in {_STATE}.")


def _add_arrays(arrays: dict[str, np.ndarray], absent: dict[str, int], file: Path) -> None:
    """Adds what a file holds; parts are put into their places in the whole array, of which ``absent`` says
    how many numbers have not come yet."""
    try:
        tensors = load_file(file)
        with safe_open(file, "np") as opened:
            places = opened.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a safetensors file: {error}.") from error
    check_finite(file, tensors, CheckpointError)
    for key, tensor in tensors.items():
        if key not in places:
            arrays[key] = tensor
            continue
        place = json.loads(places[key])
        name = place["of"]
        if name not in arrays:
            arrays[name] = np.empty(place["shape"], tensor.dtype)
            absent[name] = arrays[name].size
        block = zip(place["start"], tensor.shape)
        arrays[name][tuple(slice(start, start + length) for start, length in block)] = tensor
        absent[name] -= tensor.size


def _read_record(file: Path, step: int) -> dict[str, Any]:
    if not file.exists():
        raise CheckpointError(f"{file} is missing.")
    try:
        record = json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged: it is not JSON ({error}).") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: the checkpoint's format must be {FORMAT_VERSION}."
            f" Received: format_version={version}"
        )
    if record.get("step") != step:
        raise CheckpointError(
            f"{file}: the folder's name says step {step}. Received: step={record.get('step')}"
        )
    if record.pop("crc32", _record_crc32(record)) != _record_crc32(record):
        raise CheckpointError(f"{file} is damaged: its CRC-32 is not the one in it.")
    return record


def _record_crc32(record: Mapping[str, Any]) -> int:
    """Of what a record read from JSON says, in whatever order and spacing."""
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _file_name(index: int, count: int) -> str:
    return (
        f"arrays-{index + 1:05d}-of-{count:05d}.safetensors" if count > 1 else "arrays.safetensors"
    )


def _write_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    # safetensors reads straight from memory and takes any array to be in C order.
    tensors, places = {}, {}
    for name, array in arrays.items():
        parts = array if isinstance(array, Sequence) else [Part(array.shape, (), array)]
        for number, part in enumerate(parts):
            is_whole = part.array.shape == part.shape
            key = name if is_whole else f"{name}#{number}"
            tensors[key] = np.asarray(part.array, order="C")
            if not is_whole:
                places[key] = json.dumps({"of": name, "shape": part.shape, "start": part.start})
    for name, tensor in tensors.items():
        if tensor.dtype.kind in "OSUMm":
            raise CheckpointError(
                f"{file}: tensor {name!r} must be numeric. Received: dtype={tensor.dtype}"
            )
    check_finite(file, tensors, CheckpointError)
    try:
        save_file(tensors, file, places)
    except SafetensorError as error:
        raise CheckpointError(f"{file} cannot hold these arrays: {error}.") from error
    os.chmod(file, file.parent.stat().st_mode & 0o666)  # safetensors': readable by the owner alone
    sync_file(file)


def _size_and_crc32(file: Path) -> tuple[int, int]:
    size, checksum = 0, 0
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
    return size, checksum


def _dtype_name(array: Any) -> str:
    return array.dtype if isinstance(array.dtype, str) else np.dtype(array.dtype).name


def _record_bytes(file: Path, record: Mapping[str, Any]) -> bytes:
    try:
        written = json.loads(to_json(file, record))
        return to_json(file, written | {"crc32": _record_crc32(written)})
    except ValueError as error:
        raise CheckpointError(str(error)) from error
