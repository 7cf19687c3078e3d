"""An environment belongs to one thread at a time: two that step it would each get parts of the other's
episode."""

from __future__ import annotations

import threading


class OneThread:
    """A context that a second thread may not enter; its own may, again. A copy is one of its own.

    Raises:
        RuntimeError: on entering, if another thread is within.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "Another thread is in the middle of a call of this environment: each thread needs "
                "an environment of its own, such as copy.deepcopy makes"
            )

    def __exit__(self, *_) -> None:
        self._lock.release()

    def __reduce__(self):
        return type(self), ()
