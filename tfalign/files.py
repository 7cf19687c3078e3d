"""Where every path of the project goes through: local paths, and files that a kill cannot halve.

A file is written under a hidden name beside its final one, synced to the disk and renamed, so that a
reader, or a restart after a kill or on a full disk, finds the old content or the new, each whole.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

ASCII_SPACE = (
    " \t\n\r\v\f"  # what separates words in formats of text: no other space of Unicode does
)
WRITING = ".writing"
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


def hidden(final: Path, suffix: str) -> Path:
    """The name beside a final one under which something is written, or put away."""
    return final.with_name(f".{final.name}{suffix}")
