"""Where every path of the project goes through: local paths, and files that a kill cannot halve.

A file is written under a hidden name beside its final one, synced to the disk and renamed, so that a
reader, or a restart after a kill or on a full disk, finds the old content or the new, each whole.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

ASCII_SPACE = (
    " \t\n\r\v\f"  # what separates words in formats of text: no other space of Unicode does
)
WRITING = ".writing"
_PIECE = 1 << 20  # numbers looked at together
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def local_path(path: str | os.PathLike) -> Path:
    """A path of this machine's file system.

    >>> local_path("runs/demo").parts
    ('runs', 'demo')

    Raises:
        ValueError: if it is one of another system, such as ``gs://bucket/run``.
    """
    remote = _SCHEME.match(os.fspath(path))
    if remote:
        raise ValueError(
            f"Only local paths can be read and written, not {remote[1]}:// ones; copy the files, or"
            f" mount the bucket. Received: {os.fspath(path)}"
        )
    return Path(path)


def check_finite(
    file: str | os.PathLike,
    tensors: Mapping[str, np.ndarray],
    error: type[ValueError] = ValueError,
) -> None:
    """Raises unless all numbers are finite: weights with a NaN are neither written nor loaded.

    Args:
        file: where the tensors go or come from, for the message.
        tensors: name -> array; bfloat16 is a dtype of ``ml_dtypes``.
        error: the class of what is raised.

    Raises:
        ValueError: naming the file, the first tensor with such a number, and how many it has.

    >>> check_finite("model.safetensors", {"kernel": np.array([1.0, np.nan], "float32")})
    Traceback (most recent call last):
    ValueError: model.safetensors: tensor 'kernel' must be finite. Received: 1 of 2 numbers are not
    """
    for name, tensor in tensors.items():
        if np.dtype(tensor.dtype).kind in "biu":
            continue
        numbers = np.reshape(tensor, -1)
        pieces = (numbers[at : at + _PIECE] for at in range(0, numbers.size, _PIECE))
        count = sum(piece.size - int(np.count_nonzero(np.isfinite(piece))) for piece in pieces)
        if count:
            raise error(
                f"{file}: tensor {name!r} must be finite. Received: {count} of {numbers.size} numbers"
                " are not"
            )


def write_bytes_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Replaces a file so that a reader, or a restart after a kill, sees the old or the new whole.

    One process writes a given file.

    Args:
        path: the file; its folder exists.
        data: the new content.
    """
    path = local_path(path)
    temporary = hidden(path, WRITING)
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
    except OSError:  # a full disk: what is half written goes, the old content stays
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_text_atomically(path: str | os.PathLike, text: str) -> None:
    """As ``write_bytes_atomically``, for text in UTF-8."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_json_atomically(path: str | os.PathLike, value: Any) -> None:
    """As ``write_bytes_atomically``, for a JSON-able value.

    Raises:
        ValueError: if the value is not JSON (NaN and infinity are not).
    """
    write_bytes_atomically(path, to_json(path, value))


def to_json(file: str | os.PathLike, value: Any) -> bytes:
    """The bytes of a JSON file.

    Raises:
        ValueError: if the value is not JSON, naming the file.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} cannot hold this value as JSON: {error}.") from error


def write_synced(file: Path, data: bytes) -> None:
    """Writes a file that is on the disk when this returns.

    Raises:
        OSError: naming the file, on a full disk too.
    """
    try:
        with open(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def append_line(path: str | os.PathLike, line: bytes) -> None:
    """Adds a line to a file, all of it or nothing, and on the disk when this returns.

    Lines of several threads and processes do not mix. A last line without an end, such as a kill or an editor leaves,
    is given one first.

    Args:
        path: of the file, made where absent.
        line: bytes, without its end.

    Raises:
        OSError: naming the file, on a full disk too; the file is then as it was.
    """
    file = local_path(path)
    try:
        with open(file, "ab+", buffering=0) as stream:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX)
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(end - 1, 0))
            before = b"" if stream.read(1) in (b"", b"\n") else b"\n"
            _append(stream, end, before + line + b"\n")
        sync_directory(file.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def _append(stream, end, data):
    try:
        if stream.write(data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(stream.fileno())
    except OSError:
        stream.truncate(end)
        raise


def sync_file(file: Path) -> None:
    """Makes durable what another library wrote."""
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_directory(writing: Path, final: Path) -> None:
    """Gives a directory that is whole its final name; one that was there before goes, once it is."""
    if final.exists():
        old = hidden(final, ".replaced")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(final, old)
        os.replace(writing, final)
        shutil.rmtree(old)
    else:
        os.replace(writing, final)


def hidden(final: Path, suffix: str) -> Path:
    """The name beside a final one under which something is written, or put away."""
    return final.with_name(f".{final.name}{suffix}")
