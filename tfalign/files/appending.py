"""Lines at the end of a file: on disk at once, in a bucket when some have come together.

Nothing can be added to an object: it is written anew with the new lines behind the old, at most every few seconds
and whenever ``sync`` asks for it.
"""

from __future__ import annotations

import collections
import errno
import os
import threading
import time

from tfalign.files.paths import as_path
from tfalign.files.remote import RemotePath
from tfalign.files.writing import sync_directory

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

SECONDS_BETWEEN = 20.0
"""An object is written anew at most so often, but for ``sync``."""
_ONE_AT_A_TIME = threading.Lock()


class Log:
    """Bytes added to the end of a file; see ``open_log``."""

    def write(self, data: bytes) -> int:
        """Adds bytes, all or none of them in a bucket."""
        raise NotImplementedError

    def flush(self) -> None:
        """Nothing: bytes wait in no buffer that a reader of the same machine would miss."""

    def sync(self) -> None:
        """What was added is in its place when this returns."""

    def close(self) -> None:
        """Syncs, and ends it."""
        raise NotImplementedError


class _LocalLog(Log):
    def __init__(self, stream):
        self._stream = stream

    def write(self, data):
        return self._stream.write(data)

    def close(self):
        self._stream.close()


class _RemoteLog(Log):
    def __init__(self, path: RemotePath):
        self._path = path
        self._pending: collections.deque[bytes] = collections.deque()  # threads add and sync
        self._synced = time.monotonic()

    def write(self, data):
        self._pending.append(bytes(data))
        if time.monotonic() - self._synced >= SECONDS_BETWEEN:
            self.sync()
        return len(data)

    def sync(self):
        with _ONE_AT_A_TIME:
            added = [self._pending.popleft() for _ in range(len(self._pending))]
            if added:
                _extend(self._path, b"".join(added))
            self._synced = time.monotonic()

    def close(self):
        self.sync()


def open_log(path: str | os.PathLike, is_new: bool = False) -> Log:
    """A file to whose end bytes are added.

    Args:
        path: of the file, made where absent. One process writes it.
        is_new: whether it must not be there yet.
    """
    path = as_path(path)
    if isinstance(path, RemotePath):
        return _RemoteLog(path)
    return _LocalLog(open(path, "xb" if is_new else "ab", buffering=0))  # noqa: SIM115  # until close


def append_line(path: str | os.PathLike, line: bytes) -> None:
    """Adds a line to a file, all of it or nothing, and in its place when this returns.

    Lines of several threads do not mix, on disk those of several processes neither. A last line without an end,
    such as a kill or an editor leaves, is given one first.

    Args:
        path: of the file, made where absent.
        line: bytes, without its end.

    Raises:
        OSError: naming the file, on a full disk too; the file is then as it was.
    """
    file = as_path(path)
    if isinstance(file, RemotePath):
        with _ONE_AT_A_TIME:
            _extend(file, line + b"\n", whole_lines=True)
        return
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


def _extend(path: RemotePath, added: bytes, whole_lines: bool = False) -> None:
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        before = b""
    end = b"\n" if whole_lines and before and not before.endswith(b"\n") else b""
    path.write_bytes(before + end + added)


def _append(stream, end, data):
    try:
        if stream.write(data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(stream.fileno())
    except OSError:
        stream.truncate(end)
        raise
