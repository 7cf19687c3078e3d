"""One process at a time writes a run's directory.

``run.lock`` holds who that is: {"pid": ..., "host": ..., "started": ..., "since": ...}. The operating system's
lock on the file counts (``flock``), which ends with the process however that ends. Where a file system
has none the file itself counts: its holder is gone if this host has no such process, or one that
started at another time.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import weakref
from pathlib import Path
from typing import Any

from tfalign.files import local_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = "run.lock"
_ATTEMPTS = 20
_PAUSE_SECONDS = 0.05


class RunInUseError(ValueError):
    """Another process has the run's directory."""


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
        self.directory = local_path(directory)
        key = os.path.realpath(self.directory)
        self._held = _HELD.get(key) or _Held(self.directory, key)
        self._held.count += 1
        self.release = weakref.finalize(self, self._held.give_back)

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
        raise _refusal(self._file, _read_record(self._file))

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
                record = _read_record(self._file)
                if record:
                    raise _refusal(self._file, record)
                return False  # its holder has not written who it is yet
            if not os.path.samestat(os.fstat(descriptor), os.stat(self._file)):
                return False
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _own_record())
            self.descriptor, descriptor = descriptor, None
            return True
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _try_without_flock(self) -> bool:
        record = _read_record(self._file)
        if record and not _is_gone(record):
            raise _refusal(self._file, record)
        own = self._file.with_name(f"{LOCK_FILE}.{socket.gethostname()}.{os.getpid()}")
        own.write_bytes(_own_record())
        os.replace(own, self._file)
        time.sleep(_PAUSE_SECONDS)  # of two that take it over at once the later one has it
        return _read_record(self._file).get("pid") == os.getpid()

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

    def _remove_made(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # something is in it
                return


_HELD: dict[str, _Held] = {}


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


def _own_record() -> bytes:
    record = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": _started(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    return json.dumps(record).encode()


def _read_record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("pid"), int) else {}


def _refusal(file: Path, record: dict[str, Any]) -> RunInUseError:
    holder = "another process"
    if record:
        holder = f"process {record['pid']} on {record.get('host')} since {record.get('since')}"
    return RunInUseError(
        f"{file.parent} is in use by {holder}; wait for its end, end it, or choose another run"
        f" directory (if it is surely gone, remove {file})."
    )


def _is_gone(record: dict[str, Any]) -> bool:
    """Whether a holder is known to be gone: of another host nothing is known."""
    if record.get("host") != socket.gethostname() or os.name == "nt":
        return False
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:  # there is one, of another user
        pass
    return record.get("started") != _started(record["pid"])


def _started(pid: int) -> str:
    """When a process started, so that a later one of its number is another; "" where that is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        status = Path(f"/proc/{pid}/stat").read_text()
        return f"{boot} {status.rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        pass
    try:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _in_child() -> None:
    """A forked process does not hold its parent's locks, even if it lives longer."""
    for held in _HELD.values():
        if held.descriptor is not None:
            os.close(held.descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
