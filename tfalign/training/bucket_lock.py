"""The lock of a run in a bucket: an object that its holder renews for as long as it lives.

A bucket knows nothing of processes. The holder writes the object anew every few seconds; one that is not renewed
for longer than a lease belongs to a machine that is gone, a preempted one for instance, and is taken over. On the
machine of the holder its process is looked for, so that a restart after a kill does not wait.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid

from tfalign.files import RemotePath
from tfalign.training.lock_records import (
    RunInUseError,
    is_gone,
    own_record,
    read_record,
    refusal,
)

BEAT_SECONDS = 10.0
"""A holder renews its lock so often."""
LEASE_SECONDS = 45.0
"""A lock that was not renewed for so long is nobody's."""
PAUSE_SECONDS = 0.5
"""Of two that write a lock at once the later one has it, and both look after this time."""
_LOOK_SECONDS = 1.0


class BucketLock:
    """Takes the lock, and renews it until it is given back.

    >>> from tfalign.files import RemotePath
    >>> lock = BucketLock(RemotePath("memory://bucket/run/run.lock"))
    >>> lock.check()
    >>> lock.give_back()

    Args:
        file: the lock's object.

    Raises:
        RunInUseError: if a living process has it; of another machine that takes as long as a beat.
    """

    def __init__(self, file: RemotePath) -> None:
        self._file = file
        self._record = own_record() | {"id": uuid.uuid4().hex, "beat": 0}
        self._taken_by: dict | None = None
        self._ended = threading.Event()
        self._take()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="run.lock")
        self._thread.start()

    def check(self) -> None:
        """Raises RunInUseError if another process has taken the lock over."""
        if self._taken_by is not None:
            raise RunInUseError(
                f"{self._file.parent} was taken over by process {self._taken_by.get('pid')} on"
                f" {self._taken_by.get('host')} while this one did not renew {self._file.name}."
            )

    def give_back(self) -> None:
        """Removes the lock, if it is still this one's."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # its lease ends by itself
            if self._is_own(read_record(self._file)):
                self._file.unlink(missing_ok=True)

    def _take(self) -> None:
        record = read_record(self._file)
        if record:
            self._wait_for_the_end(record)
            self._file.write_bytes(self._bytes())
        else:
            try:
                self._file.create(self._bytes())
            except FileExistsError:
                record = read_record(self._file)
                if not self._is_own(record):  # ours: it was written, but the answer was lost
                    raise refusal(self._file, record) from None
        time.sleep(PAUSE_SECONDS)
        record = read_record(self._file)
        if not self._is_own(record):
            raise refusal(self._file, record)

    def _wait_for_the_end(self, record: dict) -> None:
        """Until the holder is known to be gone; refuses if it is not."""
        if is_gone(record):
            return
        if record.get("host") == self._record["host"]:
            raise refusal(self._file, record)
        until = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            now = read_record(self._file)
            if not now:
                return
            if now != record:
                raise refusal(self._file, now)

    def _renew(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # tried again at the next beat
                record = read_record(self._file)
                if record and not self._is_own(record):
                    self._taken_by = record
                    return
                self._record["beat"] += 1
                self._file.write_bytes(self._bytes())

    def _is_own(self, record: dict) -> bool:
        return record.get("id") == self._record["id"]

    def _bytes(self) -> bytes:
        return json.dumps(self._record).encode()
