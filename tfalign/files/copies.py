"""Copies between buckets and this machine, for libraries that open files themselves."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfalign.files.paths import AnyPath, as_path
from tfalign.files.remote import RemotePath
from tfalign.files.writing import WRITING


@contextlib.contextmanager
def local_copy(path: str | os.PathLike) -> Iterator[Path]:
    """A file or folder on this machine: itself, or for as long as the block lasts a copy of a bucket's.

    >>> RemotePath("memory://bucket/a.txt").write_bytes(b"a")
    >>> with local_copy("memory://bucket/a.txt") as file:
    ...     file.name, file.read_text()
    ('a.txt', 'a')
    """
    path = as_path(path)
    if not isinstance(path, RemotePath):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tfalign-") as folder:
        copy = Path(folder) / path.name
        download(path, copy)
        yield copy


def download(path: RemotePath, target: Path) -> None:
    """Copies an object, or all of a folder, to this machine.

    Raises:
        FileNotFoundError: if there is neither.
    """
    if path.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        path.download(target)
        return
    objects = list(path.rglob())
    if not objects:
        path.stat()  # raises
    for one in objects:
        file = target / one.relative_to(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        one.download(file)


def upload(source: Path, path: AnyPath) -> None:
    """Copies a local file or folder into a bucket.

    A folder is marked by an object ``.writing`` in it until it is whole, see ``is_whole``; what else was in it goes.
    """
    if source.is_file():
        path.upload(source)
        return
    marker = path / WRITING
    marker.write_bytes(b"")
    before = set(path.rglob())
    written = set()
    for file in sorted(source.rglob("*")):
        if file.is_file():
            target = path / file.relative_to(source).as_posix()
            target.upload(file)
            written.add(target)
    for stale in before - written - {marker}:
        stale.unlink(missing_ok=True)
    marker.unlink(missing_ok=True)
