"""Checkpoints that another thread writes while the training goes on, one at a time.

The training stands still while its state is copied into memory. Alone, a process leaves all else to the thread. Of
several processes each has a thread that writes its part, which asks nothing of the others: what they have to agree on,
that all parts are there, they do between two updates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from tfalign.training.checkpoint import Begun, Checkpointer


class BackgroundSave:
    """One save of a Checkpointer at a time.

    >>> import numpy as np, tempfile
    >>> checkpointer = Checkpointer(tempfile.mkdtemp())
    >>> save = BackgroundSave(checkpointer)
    >>> save.begin(1, lambda: {"kernel": np.ones(2)}, {"epoch": 1})
    >>> save.finish()
    >>> checkpointer.latest()
    1

    Args:
        checkpointer: Checkpointer, used by nobody else before ``finish``.
    """

    def __init__(self, checkpointer: Checkpointer) -> None:
        self._checkpointer = checkpointer
        self._is_alone = True
        self._begun: Begun | None = None
        self._state: Mapping[str, Any] = {}
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def begin(
        self, step: int, copy_arrays: Callable[[], Mapping[str, Any]], state: Mapping[str, Any]
    ) -> None:
        """Begins a save; the one before must be finished. Of several processes all must call it.

        Args:
            step, state: as ``Checkpointer.save`` takes them.
            copy_arrays: () -> arrays that nothing changes any more.
        """
        self._begun, self._state = self._checkpointer.begin(step), state
        self._is_alone = len(self._begun.names) == 1
        arrays = copy_arrays()
        self._thread = threading.Thread(target=self._write, args=(arrays,), name="checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Finishes a save whose writing has ended everywhere, or raises what it raised."""
        if self._thread is None:
            return
        is_running = self._thread.is_alive()
        if not self._is_alone:
            is_running = any(self._checkpointer.processes.gather(int(is_running)))
        if not is_running:
            self.finish()

    def wait(self) -> None:
        """Returns when no thread writes any more."""
        if self._thread is not None:
            self._thread.join()

    def finish(self) -> None:
        """Returns when a save that has begun is whole, or raises what it raised."""
        if self._thread is None:
            return
        self.wait()
        failure, self._thread, self._failure = self._failure, None, None
        if failure is not None:
            raise failure
        if not self._is_alone:
            self._checkpointer.finish(self._begun, self._state)

    def _write(self, arrays: Mapping[str, Any]) -> None:
        try:
            self._checkpointer.write(self._begun, arrays)
            if self._is_alone:
                self._checkpointer.finish(self._begun, self._state)
        except BaseException as error:
            self._failure = error
