"""One process at a time writes a run's directory.

``run.lock`` holds who that is: {"pid": ..., "host": ..., "started": ..., "since": ...}. The operating system's
lock on the file counts (``flock``), which ends with the process however that ends. Where a file system
has none the file itself counts: its holder is gone if this host has no such process, or one that
started at another time. In a bucket the holder renews the file, see ``bucket_lock``.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from pathlib import Path

from tfalign.files import RemotePath, as_path
from tfalign.training.bucket_lock import BucketLock
from tfalign.training.lock_records import is_gone, own_record, read_record, refusal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = "run.lock"
_ATTEMPTS = 20
_PAUSE_SECONDS = 0.05


class RunLock(contextlib.AbstractContextManager):
    """Takes a directory for this process, and makes it where it is absent.

    Given back at the end of a ``with``, by ``release``, when the last RunLock of the directory in this process is gone, or with the
    process. A directory that this made and that is empty then is removed.

    Args:
        directory: the run's directory.

    Raises:
        RunInUseError: if another process has it, naming process and host.
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        self.directory = as_path(directory)
        if isinstance(self.directory, RemotePath):
            key, kind = os.fspath(self.directory), _HeldInBucket
        else:
            key, kind = os.path.realpath(self.directory), _Held
        self._held = _HELD.get(key) or kind(self.directory, key)
        self._held.count += 1
        self.release = weakref.finalize(self, self._held.give_back)

    def check(self) -> None:
        """Raises RunInUseError if another process has taken the directory over, as it can in a bucket."""
        self._held.check()

    def __exit__(self, *exception: object) -> None:
        self.release()


class _Held:
    """A directory's lock in this process, shared by its RunLocks."""

    def __init__(self, directory: Path, key: str):
        self._key, self._pid = key, os.getpid()
        self.count = 0
        self._made: list[Path] = []
        self._file = directory / LOCK_FILE
        self.descriptor: int | None = None
        try:
            self._take(directory)
        except BaseException:
            self._remove_made()
            raise
        _HELD[key] = self

    def _take(self, directory: Path) -> None:
        for _ in range(_ATTEMPTS):
            self._make(directory)
            with contextlib.suppress(FileNotFoundError):  # its last holder has just removed it
                if self._try_once():
                    return
            time.sleep(_PAUSE_SECONDS)
        raise refusal(self._file, read_record(self._file))

    def _make(self, directory: Path) -> None:
        absent = [folder for folder in (directory, *directory.parents) if not folder.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        self._made = absent + [folder for folder in self._made if folder not in absent]

    def _try_once(self) -> bool:
        """Whether the lock is this process's now; False to try again."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = _flock(descriptor)
            if locked is None:
                return self._try_without_flock()
            if not locked:
                record = read_record(self._file)
                if record:
                    raise refusal(self._file, record)
                return False  # its holder has not written who it is yet
            if not os.path.samestat(os.fstat(descriptor), os.stat(self._file)):
                return False
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(own_record()).encode())
            self.descriptor, descriptor = descriptor, None
            return True
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _try_without_flock(self) -> bool:
        record = read_record(self._file)
        if record and not is_gone(record):
            raise refusal(self._file, record)
        own = self._file.with_name(f"{LOCK_FILE}.{socket.gethostname()}.{os.getpid()}")
        own.write_bytes(json.dumps(own_record()).encode())
        os.replace(own, self._file)
        time.sleep(_PAUSE_SECONDS)  # of two that take it over at once the later one has it
        return read_record(self._file).get("pid") == os.getpid()

    def give_back(self) -> None:
        if os.getpid() != self._pid:
            return
        self.count -= 1
        if self.count:
            return
        _HELD.pop(self._key, None)
        self._file.unlink(missing_ok=True)
        if self.descriptor is not None:
            os.close(self.descriptor)
        self._remove_made()

    def check(self) -> None:
        """Nothing: this lock ends with the process."""

    def _remove_made(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # something is in it
                return


class _HeldInBucket:
    """The same of a directory in a bucket."""

    descriptor = None

    def __init__(self, directory: RemotePath, key: str):
        self._key, self._pid = key, os.getpid()
        self.count = 0
        self._lock = BucketLock(directory / LOCK_FILE)
        self.check = self._lock.check
        _HELD[key] = self

    def give_back(self) -> None:
        if os.getpid() != self._pid:
            return
        self.count -= 1
        if not self.count:
            _HELD.pop(self._key, None)
            self._lock.give_back()


_HELD: dict[str, _Held | _HeldInBucket] = {}


def _flock(descriptor: int) -> bool | None:
    """Whether the lock was free; None where there is no such lock."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _in_child() -> None:
    """A forked process does not hold its parent's locks, even if it lives longer."""
    for held in _HELD.values():
        if held.descriptor is not None:
            os.close(held.descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
