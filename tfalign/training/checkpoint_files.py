"""The files of a checkpoint: arrays in safetensors, the record in JSON, each with its CRC-32.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy, for reading and writing
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from tfalign.files import AnyPath, RemotePath, check_finite, local_copy, sync_file, to_json

FORMAT_VERSION = 2
STATE = "state.json"


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


def read(folder: AnyPath, step: int) -> Restored:
    """The checkpoint of a folder, each file of it proven whole."""
    record = _read_record(folder / STATE, step)
    if isinstance(folder, RemotePath):
        with local_copy(folder) as copy:
            return _read_local(copy, step, record, folder)
    return _read_local(folder, step, record, folder)


def _read_local(copy: Path, step: int, record: dict[str, Any], folder: AnyPath) -> Restored:
    """What lies in a folder of this machine, which is that of the checkpoint or a copy of it."""
    for entry in record["arrays"]:
        _check_file(copy / entry["file"], entry["bytes"], entry["crc32"], folder)
    arrays: dict[str, np.ndarray] = {}
    absent: dict[str, int] = {}
    for entry in record["arrays"]:
        _add_arrays(arrays, absent, copy / entry["file"], folder)
    for name, count in absent.items():
        if count:
            raise CheckpointError(
                f"{folder}: the parts of tensor {name!r} must be the whole of it, once."
                f" Received: {arrays[name].size - count} of {arrays[name].size} numbers"
            )
    return Restored(step, arrays, record["state"])


def _check_file(file: Path, size: int, checksum: int, folder: AnyPath) -> None:
    """Raises unless the file is what was written; ``folder`` is for the message."""
    told = folder / file.name
    if not file.exists():
        raise CheckpointError(f"{told} is missing.")
    if file.stat().st_size != size:
        raise CheckpointError(
            f"{told} is truncated or overgrown: it was written with {size} bytes."
            f" Received: {file.stat().st_size} bytes"
        )
    if size_and_crc32(file) != (size, checksum):
        raise CheckpointError(f"{told} is damaged: its CRC-32 is not the one in {STATE}.")


def _add_arrays(
    arrays: dict[str, np.ndarray], absent: dict[str, int], file: Path, folder: AnyPath
) -> None:
    """Adds what a file holds; parts are put into their places in the whole array, of which ``absent`` says
    how many numbers have not come yet."""
    try:
        tensors = load_file(file)
        with safe_open(file, "np") as opened:
            places = opened.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder / file.name} is not a safetensors file: {error}."
        ) from error
    check_finite(folder / file.name, tensors, CheckpointError)
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


def _read_record(file: AnyPath, step: int) -> dict[str, Any]:
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


def file_name(index: int, count: int) -> str:
    """Of the arrays that process ``index`` of ``count`` writes."""
    return (
        f"arrays-{index + 1:05d}-of-{count:05d}.safetensors" if count > 1 else "arrays.safetensors"
    )


def write_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays, or the parts of them that are here, to the disk."""
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


def size_and_crc32(file: Path) -> tuple[int, int]:
    """What proves that a file is what was written."""
    size, checksum = 0, 0
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
    return size, checksum


def record_bytes(file: AnyPath, record: Mapping[str, Any]) -> bytes:
    """The record as JSON with its own CRC-32; ``file`` is for the message."""
    try:
        written = json.loads(to_json(file, record))
        return to_json(file, written | {"crc32": _record_crc32(written)})
    except ValueError as error:
        raise CheckpointError(str(error)) from error
