"""Checkpoints that a kill at any moment cannot spoil: safetensors and JSON, renamed into place.

    checkpoints/
      step-00000010/
        arrays.safetensors
        state.json          format version, step, size and CRC-32 of the arrays, the caller's state

A checkpoint is written under a hidden name beside its final one, synced to the disk and renamed; a
name ``step-...`` is therefore always a whole checkpoint. Hidden leftovers of a killed save are
ignored by readers and removed by the next save.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy, for reading and writing
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

FORMAT_VERSION = 1
_ARRAYS = "arrays.safetensors"
_STATE = "state.json"
_STEP_NAME = re.compile(r"step-(\d{8,})")
_WRITING, _REPLACED, _REMOVED = ".writing", ".replaced", ".removed"
_HIDDEN_NAME = re.compile(r"\.step-(\d{8,})\.(writing|replaced|removed)")


class CheckpointError(ValueError):
    """A checkpoint that is absent, damaged, or of another model."""


class Restored(NamedTuple):
    """What ``Checkpointer.restore`` returns."""

    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


class Checkpointer:
    """Saves and restores numbered checkpoints in one directory, which one process writes.

    Args:
        directory: where the ``step-...`` folders live; made when absent.
        keep_last: int > 0, how many of the highest steps a save leaves in place.
    """

    def __init__(self, directory: str | os.PathLike, keep_last: int = 3):
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1. Received: keep_last={keep_last}")
        self.directory = Path(directory)
        self.keep_last = keep_last
        self.directory.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Path:
        """Writes a checkpoint; when this returns, it is on the disk and survives a kill.

        A checkpoint of the same step is replaced; until the new one is whole, the old one counts.

        Args:
            step: int >= 0.
            arrays: name -> array of any shape; dtypes those of safetensors, bfloat16 among them.
            state: JSON-able, finite numbers; comes back equal (tuples as lists).

        Returns:
            The folder of the checkpoint.

        Raises:
            CheckpointError: if an array or the state cannot be stored; nothing has changed then.
        """
        if step < 0:
            raise ValueError(f"a checkpoint's step must not be negative. Received: step={step}")
        self._clean()
        final = self.directory / f"step-{step:08d}"
        writing = _hidden(final, _WRITING)
        writing.mkdir()
        try:
            _write_arrays(writing / _ARRAYS, arrays)
            size, checksum = _size_and_crc32(writing / _ARRAYS)
            record = {
                "format_version": FORMAT_VERSION,
                "step": step,
                "arrays": {"file": _ARRAYS, "bytes": size, "crc32": checksum},
                "state": dict(state),
            }
            _write_synced(writing / _STATE, _to_json(writing / _STATE, record))
        except CheckpointError:
            shutil.rmtree(writing)
            raise
        _sync_directory(writing)
        if final.exists():
            os.replace(final, _hidden(final, _REPLACED))
        os.replace(writing, final)
        _sync_directory(self.directory)
        self._prune()
        return final

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
            CheckpointError: if there is none, or the files are not what was written.
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
            os.replace(path, _hidden(self.directory / f"step-{step:08d}", _REMOVED))
        self._remove_hidden()

    def _remove_hidden(self) -> None:
        for path in list(self.directory.iterdir()):
            if _HIDDEN_NAME.fullmatch(path.name):
                shutil.rmtree(path)


class FollowedCheckpointer(Checkpointer):
    """Checkpoints that another process writes: restores as it does, and saves nothing."""

    def save(self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Path:
        """Where the other process writes them."""
        return self.directory / f"step-{step:08d}"


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


def write_bytes_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Replaces a file so that a reader, or a restart after a kill, sees the old or the new whole.

    One process writes a given file.

    Args:
        path: the file; its folder exists.
        data: the new content.
    """
    path = Path(path)
    temporary = _hidden(path, _WRITING)
    _write_synced(temporary, data)
    os.replace(temporary, path)
    _sync_directory(path.parent)


def write_text_atomically(path: str | os.PathLike, text: str) -> None:
    """As ``write_bytes_atomically``, for text in UTF-8."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_json_atomically(path: str | os.PathLike, value: Any) -> None:
    """As ``write_bytes_atomically``, for a JSON-able value.

    Raises:
        CheckpointError: if the value is not JSON (NaN and infinity are not).
    """
    write_bytes_atomically(path, _to_json(path, value))


def _read(folder: Path, step: int) -> Restored:
    record = _read_record(folder / _STATE, step)
    file = folder / record["arrays"]["file"]
    if not file.exists():
        raise CheckpointError(f"{file} is missing.")
    written = (record["arrays"]["bytes"], record["arrays"]["crc32"])
    if file.stat().st_size != written[0]:
        raise CheckpointError(
            f"{file} is truncated or overgrown: it was written with {written[0]} bytes."
            f" Received: {file.stat().st_size} bytes"
        )
    if _size_and_crc32(file) != written:
        raise CheckpointError(f"{file} is damaged: its CRC-32 is not the one in {_STATE}.")
    try:
        arrays = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a safetensors file: {error}.") from error
    return Restored(step, arrays, record["state"])


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
    if record["step"] != step:
        raise CheckpointError(
            f"{file}: the folder's name says step {step}. Received: step={record['step']}"
        )
    return record


def _write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # safetensors reads straight from memory and takes any array to be in C order.
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in dense.items():
        if array.dtype.kind in "OSUMm":
            raise CheckpointError(
                f"{file}: tensor {name!r} must be numeric. Received: dtype={array.dtype}"
            )
    try:
        save_file(dense, file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} cannot hold these arrays: {error}.") from error
    _sync_file(file)


def _to_json(file: str | os.PathLike, value: Any) -> bytes:
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file} cannot hold this value as JSON: {error}.") from error


def _size_and_crc32(file: Path) -> tuple[int, int]:
    size, checksum = 0, 0
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
    return size, checksum


def _write_synced(file: Path, data: bytes) -> None:
    with open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_file(file: Path) -> None:
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def _sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden(final: Path, suffix: str) -> Path:
    return final.with_name(f".{final.name}{suffix}")


def _dtype_name(array: Any) -> str:
    return array.dtype if isinstance(array.dtype, str) else np.dtype(array.dtype).name
