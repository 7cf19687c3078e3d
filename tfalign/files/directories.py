"""Files and directories that are there whole or not at all, on disk and in buckets.

On disk one is filled under a hidden name and renamed. In a bucket nothing can be renamed: one is filled on this
machine and copied, and an object ``.writing`` in it says for so long that it is not whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfalign.files.copies import upload
from tfalign.files.paths import AnyPath, as_path
from tfalign.files.remote import RemotePath
from tfalign.files.writing import WRITING, sync_file


@contextlib.contextmanager
def new_directory(final: str | os.PathLike) -> Iterator[Path]:
    """A local folder, empty, which takes a directory's place when the block ends well.

    >>> with new_directory("memory://bucket/model") as folder:
    ...     _ = (folder / "config.json").write_text("{}")
    >>> is_whole("memory://bucket/model")
    True
    """
    final = as_path(final)
    if isinstance(final, RemotePath):
        with tempfile.TemporaryDirectory(prefix="tfalign-") as folder:
            yield Path(folder)
            upload(Path(folder), final)
        return
    writing = hidden(final, WRITING)
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        yield writing
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise
    replace_directory(writing, final)


@contextlib.contextmanager
def new_file(final: str | os.PathLike) -> Iterator[Path]:
    """A local file to write, which takes a file's place when the block ends well; its suffix is the same."""
    final = as_path(final)
    if isinstance(final, RemotePath):
        with tempfile.TemporaryDirectory(prefix="tfalign-") as folder:
            yield Path(folder) / final.name
            upload(Path(folder) / final.name, final)
        return
    writing = hidden(final, WRITING)
    try:
        yield writing
        sync_file(writing)
        os.replace(writing, final)
    except BaseException:  # a full disk: what is half written goes, the old content stays
        writing.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def folder_beside(directory: AnyPath) -> Iterator[Path]:
    """A local folder, empty, whose files are to be moved into a directory that is made where absent; on its own file
    system where that is local. What is left in it goes."""
    if isinstance(directory, RemotePath):
        with tempfile.TemporaryDirectory(prefix="tfalign-") as folder:
            yield Path(folder)
        return
    writing = directory / WRITING
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        yield writing
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def move(file: Path, target: AnyPath) -> None:
    """Puts a local file into another's place."""
    if isinstance(target, RemotePath):
        target.upload(file)
        file.unlink()
    else:
        os.replace(file, target)


def is_whole(directory: str | os.PathLike) -> bool:
    """Whether a directory is there, and no copying of it into a bucket was broken off."""
    directory = as_path(directory)
    if not directory.is_dir():
        return False
    return not (isinstance(directory, RemotePath) and (directory / WRITING).exists())


def replace_directory(writing: Path, final: Path) -> None:
    """Gives a local directory that is whole its final name; one that was there before goes, once it is."""
    if final.exists():
        old = hidden(final, ".replaced")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(final, old)
        os.replace(writing, final)
        shutil.rmtree(old)
    else:
        os.replace(writing, final)


def remove(path: AnyPath) -> None:
    """Removes a file, or a folder with all in it; nothing where there is none."""
    if isinstance(path, RemotePath):
        for one in [path, *path.rglob()]:
            one.unlink(missing_ok=True)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def hidden(final: AnyPath, suffix: str) -> AnyPath:
    """The name beside a final one under which something is written, or put away."""
    return final.with_name(f".{final.name}{suffix}")
