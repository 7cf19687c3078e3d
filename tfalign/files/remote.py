"""Paths of objects in buckets, with the methods of ``pathlib.Path`` that the library uses.

An object store has no folders: a folder is the beginning of objects' names, is there when an object begins
with it, and needs not be made. A written object is there whole or not at all.

``etils.epath`` is not used: it takes TensorFlow's file system for ``gs://`` where TensorFlow is installed, which
has none for ``s3://``, and repeats nothing when a connection is lost.
"""

from __future__ import annotations

import errno
import fnmatch
import io
import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

from tfalign.files.retrying import retried

SCHEMES = {"gs": "gcs", "s3": "s3", "memory": ""}
"""Scheme -> the extra that installs what it needs; ``memory://`` is this process's, for tests."""
_SETTINGS = {
    "gs": {"use_listings_cache": False},
    # ``retried`` does it, and says so at the end
    "s3": {"use_listings_cache": False, "config_kwargs": {"retries": {"max_attempts": 0}}},
}
_BUFFER = 1 << 23  # bytes that are read from a bucket at once


class Stat(NamedTuple):
    """What is known of an object or a folder of them."""

    st_size: int
    st_mode: int


class RemotePath(os.PathLike):
    """An object in a bucket, or a folder of objects.

    >>> path = RemotePath("memory://bucket/run/config.json")
    >>> path.write_bytes(b"{}")
    >>> path.parent.name, path.read_bytes(), [str(one) for one in path.parent.iterdir()]
    ('run', b'{}', ['memory://bucket/run/config.json'])

    Args:
        address: such as ``gs://bucket/folder/file``.

    Raises:
        ValueError: if it names no bucket.
    """

    def __init__(self, address: str) -> None:
        self.scheme, _, key = address.partition("://")
        self._pure = PurePosixPath(key.lstrip("/"))
        if not self._pure.parts or ".." in self._pure.parts:
            raise ValueError(f"A path needs a bucket, and no '..'. Received: {address}")

    # As text.

    def __fspath__(self) -> str:
        return f"{self.scheme}://{self._pure}"

    __str__ = __fspath__

    def __repr__(self) -> str:
        return f"RemotePath({os.fspath(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and os.fspath(self) == os.fspath(other)

    def __lt__(self, other: RemotePath) -> bool:
        return os.fspath(self) < os.fspath(other)

    def __hash__(self) -> int:
        return hash(os.fspath(self))

    def __truediv__(self, part: str | os.PathLike) -> RemotePath:
        return self._of(self._pure / str(part))

    def _of(self, pure: PurePosixPath) -> RemotePath:
        return RemotePath(f"{self.scheme}://{pure}")

    @property
    def name(self) -> str:
        """The last part."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """Of the last part, with the dot."""
        return self._pure.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket, and the parts of the name."""
        return self._pure.parts

    @property
    def parent(self) -> RemotePath:
        """The folder; a bucket's is itself."""
        return self if len(self._pure.parts) == 1 else self._of(self._pure.parent)

    @property
    def parents(self) -> list[RemotePath]:
        """The folders above, the nearest first."""
        return [self._of(one) for one in self._pure.parents if one.parts]

    def with_name(self, name: str) -> RemotePath:
        """The path beside it of another name."""
        return self._of(self._pure.with_name(name))

    def relative_to(self, other: RemotePath) -> PurePosixPath:
        """The rest of it below a folder."""
        return self._pure.relative_to(other._pure)

    def resolve(self) -> RemotePath:
        """Itself: there are no links."""
        return self

    absolute = expanduser = resolve

    # What is there.

    def stat(self) -> Stat:
        """Size and kind.

        Raises:
            FileNotFoundError: if nothing is there.
        """
        info = self._ask("info")
        is_folder = info["type"] == "directory"
        return Stat(
            int(info.get("size") or 0), stat.S_IFDIR | 0o755 if is_folder else stat.S_IFREG | 0o644
        )

    def _mode(self) -> int:
        try:
            return self.stat().st_mode
        except FileNotFoundError:
            return 0

    def exists(self) -> bool:
        """Whether there is an object of this name, or any below it."""
        return self._mode() != 0

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return stat.S_ISREG(self._mode())

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        return stat.S_ISDIR(self._mode())

    def iterdir(self) -> Iterator[RemotePath]:
        """What lies directly in the folder; nothing where there is none."""
        yield from self._listed(lambda fs, key: fs.ls(key, detail=False))

    def rglob(self, pattern: str = "*") -> Iterator[RemotePath]:
        """The objects below it, at any depth, whose name fits."""
        found = self._listed(lambda fs, key: fs.find(key))
        yield from (one for one in found if fnmatch.fnmatchcase(one.name, pattern))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What lies in the folder and fits; with ``/`` in the pattern, so many levels deeper."""
        first, _, rest = pattern.partition("/")
        found = (one for one in self.iterdir() if fnmatch.fnmatchcase(one.name, first))
        if not rest:
            yield from found
            return
        for one in found:
            yield from one.glob(rest)

    def _listed(self, listing: Callable[[Any, str], list[str]]) -> list[RemotePath]:
        try:
            names = self._with_store(listing)
        except FileNotFoundError:
            return []
        keys = {name.strip("/") for name in names} - {str(self._pure)}
        return [self._of(PurePosixPath(key)) for key in sorted(keys)]

    # Reading and writing.

    def read_bytes(self) -> bytes:
        """The whole object."""
        return self._ask("cat_file")

    def read_range(self, start: int, end: int) -> bytes:
        """Its bytes from ``start`` to before ``end``."""
        return self._ask("cat_file", start=start, end=end) if end > start else b""

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "r", encoding: str = "utf-8", newline: str | None = None) -> IO:
        """Opens it for reading, a few megabytes at a time."""
        if mode not in ("r", "rb"):
            raise ValueError(f"An object of a bucket is written whole. Received: mode={mode!r}")
        stream = io.BufferedReader(_Reader(self), _BUFFER)
        return stream if mode == "rb" else io.TextIOWrapper(stream, encoding, newline=newline)

    def write_bytes(self, data: bytes) -> None:
        """Writes the object; readers see the old or the new one, each whole."""
        self._ask("pipe_file", bytes(data))

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        """As ``write_bytes``."""
        self.write_bytes(text.encode(encoding))

    def create(self, data: bytes) -> None:
        """Writes the object unless there is one.

        Raises:
            FileExistsError: if there is one. A store that knows no such condition, as emulators may not, writes it.
        """
        self._ask("pipe_file", bytes(data), mode="create")

    def download(self, file: str | os.PathLike) -> None:
        """Copies the object to a local file."""
        self._ask("get_file", os.fspath(file))

    def upload(self, file: str | os.PathLike) -> None:
        """Writes the object from a local file."""
        name = os.fspath(file)
        self._with_store(lambda fs, key: fs.put_file(name, key))

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object."""
        try:
            self._ask("rm_file")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: folders need not be made."""

    def rmdir(self) -> None:
        """Nothing: a folder without objects is not there."""

    def _ask(self, method: str, *arguments: Any, **more: Any) -> Any:
        return self._with_store(lambda fs, key: getattr(fs, method)(key, *arguments, **more))

    def _with_store(self, function: Callable[[Any, str], Any]) -> Any:
        """What ``function(file system, key)`` returns; a lost connection is tried again."""
        fs = _file_system(self)
        try:
            return retried(self, lambda: function(fs, str(self._pure)))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from error


class _Reader(io.RawIOBase):
    """An object as a file that is read and in which one seeks."""

    def __init__(self, path: RemotePath):
        self._path, self._size, self._at = path, path.stat().st_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._path.read_range(self._at, min(self._at + len(buffer), self._size))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _file_system(path: RemotePath) -> Any:
    """The fsspec file system of a path, which asks for credentials as its libraries do.

    Raises:
        ValueError: if a package is missing, with the line that installs it.
    """
    # gcsfs asks for the kind of every bucket over gRPC otherwise, with a warning where it may not
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import fsspec

            fs = fsspec.filesystem(path.scheme, **_SETTINGS.get(path.scheme, {}))
    except ImportError as error:
        raise ValueError(
            f"{path} needs a package that is not installed: pip install"
            f" 'tfalign[{SCHEMES[path.scheme]}]' ({error})"
        ) from error
    if path.scheme == "s3":
        fs.retries = 1
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what it could not do is raised, too
    return fs
