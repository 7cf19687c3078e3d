"""Files that a kill cannot halve.

A local file is written under a hidden name beside its final one, synced to the disk and renamed, so that a
reader, or a restart after a kill or on a full disk, finds the old content or the new, each whole. An object of a
bucket is put whole, which is the same.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tfalign.files.paths import AnyPath, as_path
from tfalign.files.remote import RemotePath

WRITING = ".writing"


def write_bytes_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Replaces a file so that a reader, or a restart after a kill, sees the old or the new whole.

    One process writes a given file.

    Args:
        path: the file; its folder exists.
        data: the new content.
    """
    path = as_path(path)
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}{WRITING}")
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


def sync_file(file: Path) -> None:
    """Makes durable what another library wrote."""
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def sync_directory(directory: AnyPath) -> None:
    """Makes the names in a directory durable; Windows has no such call, and a bucket needs none."""
    if os.name == "nt" or isinstance(directory, RemotePath):
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
