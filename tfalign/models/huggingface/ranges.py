"""Tensors of a safetensors file by their byte ranges: only what is asked for is read, from a disk or a bucket.

A file is eight bytes, the header's length; the header, JSON: name -> dtype, shape and where its bytes lie; and the
bytes, each tensor's in C order (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np

from tfalign.files import AnyPath, RemotePath

_MOST_HEADER = 100_000_000  # bytes, the format's own limit
_LOCAL, _REMOTE = 1 << 10, 1 << 20  # bytes that are worth a read of their own
_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}


class Held(NamedTuple):
    """A tensor in a file.

    Attributes:
        file: the file's path.
        name: str, in the file.
        shape: tuple of int.
        dtype: str, safetensors' name of it.
        start: int, the file's byte where it begins.
    """

    file: AnyPath
    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int


def read_header(file: AnyPath) -> dict[str, Held]:
    """The tensors of a file.

    Raises:
        ValueError: if it is no safetensors file, or shorter than its header says.
    """
    size = file.stat().st_size
    with Ranges(file) as ranges:
        length = int.from_bytes(ranges.read(0, min(8, size)), "little")
        if size < 8 or length > min(_MOST_HEADER, size - 8):
            raise ValueError(f"{file} is truncated or not a safetensors file: no header.")
        text = ranges.read(8, 8 + length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        tensors = {name: _held(file, name, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is truncated or not a safetensors file: {error}.") from error
    for held in tensors.values():
        if held.start + _bytes_of(held) > size:
            raise ValueError(f"{file} is truncated: tensor {held.name!r} is not all there.")
    return tensors


def _held(file, name, entry, data_start):
    shape, (first, last) = tuple(map(int, entry["shape"])), entry["data_offsets"]
    held = Held(file, name, shape, entry["dtype"], data_start + int(first))
    if entry["dtype"] in _DTYPES and last - first != _bytes_of(held):
        raise ValueError(f"tensor {name!r} has {last - first} bytes")
    return held


def dtype_of(held: Held) -> np.dtype:
    """As NumPy has it.

    Raises:
        ValueError: if it is not known.
    """
    if held.dtype not in _DTYPES:
        raise ValueError(
            f"{held.file}: tensor {held.name!r} has an unknown dtype. Received: {held.dtype}"
        )
    return np.dtype(_DTYPES[held.dtype])


def _bytes_of(held):
    size = np.dtype(_DTYPES[held.dtype]).itemsize if held.dtype in _DTYPES else 0
    return math.prod(held.shape) * size


def read_part(held: Held, part: Sequence[slice] = ()) -> np.ndarray:
    """A block of a tensor.

    Rows are read alone, and no other. Of a block that is narrower along a later axis too, what it does not hold is
    passed over where that is worth a read of its own: ``_LOCAL`` bytes of a file, ``_REMOTE`` of an object.

    Args:
        held: the tensor.
        part: a slice an axis, without steps; axes without one are whole.

    Returns:
        Array of the tensor's dtype, writable.
    """
    dtype = dtype_of(held)
    places = [slice(*one.indices(size)[:2]) for one, size in zip(part, held.shape)]
    places += [slice(0, size) for size in held.shape[len(places) :]]
    shape = [max(one.stop - one.start, 0) for one in places]
    if 0 in shape:
        return np.zeros(shape, dtype)
    with Ranges(held.file) as ranges:
        return _block(ranges, held.start, held.shape, places, dtype)


def _block(ranges, start, shape, places, dtype):
    """The block of an array of this shape that begins at a byte of a file."""
    if not shape:
        return np.frombuffer(ranges.read(start, start + dtype.itemsize), dtype)[0].reshape(())
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    first, last = places[0].start, places[0].stop
    is_narrow = any(p.stop - p.start < size for p, size in zip(places[1:], shape[1:]))
    if is_narrow and row_bytes >= ranges.long:
        rows = [
            _block(ranges, start + row * row_bytes, shape[1:], places[1:], dtype)
            for row in range(first, last)
        ]
        return np.stack(rows)
    data = ranges.read(start + first * row_bytes, start + last * row_bytes)
    rows = np.frombuffer(data, dtype).reshape((last - first, *shape[1:]))
    return rows[(slice(None), *places[1:])].copy()


class Ranges(contextlib.AbstractContextManager):
    """Byte ranges of a file or an object.

    Args:
        file: its path.

    Attributes:
        long: int, bytes that are worth a read of their own.
    """

    def __init__(self, file: AnyPath) -> None:
        self._file = file
        self._stream = None if isinstance(file, RemotePath) else file.open("rb", buffering=0)
        self.long = _REMOTE if self._stream is None else _LOCAL

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to before ``end``.

        Raises:
            ValueError: if the file ends before.
        """
        if self._stream is None:
            data = self._file.read_range(start, end)
        else:
            self._stream.seek(start)
            data = self._stream.read(end - start)
            while len(data) < end - start and (more := self._stream.read(end - start - len(data))):
                data += more
        if len(data) != end - start:
            raise ValueError(f"{self._file} ends at byte {start + len(data)}, before byte {end}.")
        return data

    def __exit__(self, *exception: object) -> None:
        if self._stream is not None:
            self._stream.close()
