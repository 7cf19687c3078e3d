"""SIGTERM and SIGINT end a training after the running update, with a checkpoint.

    with interruption.handled():  # a program's main, or a loop of its own
        with interruption.Deferred() as deferred:
            for step in range(steps):
                update(step)
                if deferred.agreed():
                    save(step)
                    break

Within ``handled`` the first signal raises ``Interrupted``, which ends the process with the exit code that
a shell gives for the signal (143, 130); within ``Deferred`` not before its end. A second signal ends the
process at once. Checkpoints and other files are written atomically, so that nothing is lost by that.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_ONE_SECONDS = 0.1  # ``timeout`` signals a process and its group: within this, two signals are one


class Interrupted(SystemExit):
    """A signal ended the run; everything up to the last update is in a checkpoint.

    Args:
        signal_number: int, which one.

    Attributes:
        code: int, the exit code: 128 and the signal's number.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(128 + signal_number)
        self.signal_number = signal_number


class _Signals:
    """What this process received; signals belong to the process, so there is one of these."""

    def __init__(self):
        self.replaced: dict[int, object] = {}  # number -> the handler that was there before
        self.received = 0
        self.since = 0.0
        self.deferred = 0
        self.pipe: tuple[int, int] | None = None
        self.other_pipe = -1

    def receive(self, number, frame):
        del frame
        now = time.monotonic()
        if self.received:
            if now - self.since >= _ONE_SECONDS:
                os._exit(128 + number)
            return
        self.received, self.since = number, now
        if not self.deferred:
            raise Interrupted(number)
        name = signal.Signals(number).name
        told = (
            f"\n{name}: ends after this update, with a checkpoint; a second signal ends at once\n"
        )
        os.write(2, told.encode())

    def install(self):
        for number in self.replaced:
            signal.signal(number, self.receive)

    def remove(self):
        for number, handler in self.replaced.items():
            signal.signal(number, handler)
        self.replaced, self.received = {}, 0
        signal.set_wakeup_fd(self.other_pipe)
        os.close(self.pipe[1])  # with it ends ``watch``

    def watch(self):
        """Ends the process at a second signal though the main thread is in a long call of a compiled
        program: Python calls no handler until that returns, but hands every signal to the pipe."""
        self.pipe = reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self.other_pipe = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(
            target=_end_at_second, args=(reading, set(self.replaced)), daemon=True
        ).start()


def _end_at_second(reading, numbers):
    first = None
    while signalled := os.read(reading, 1):
        number, now = signalled[0], time.monotonic()
        if number in numbers:
            first = first or now
            if now - first >= _ONE_SECONDS:
                os._exit(128 + number)
    os.close(reading)


_SIGNALS = _Signals()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within it SIGTERM and SIGINT end the process in order. A signal that the caller ignores, or handles
    itself, is left to it; so are all where this is not the main thread."""
    if _SIGNALS.replaced or threading.current_thread() is not threading.main_thread():
        yield
        return
    current = {number: signal.getsignal(number) for number in SIGNALS}
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    replaced = {number: handler for number, handler in current.items() if handler in defaults}
    if not replaced:
        yield
        return
    _SIGNALS.replaced = replaced
    _SIGNALS.install()
    _SIGNALS.watch()
    try:
        yield
    finally:
        _SIGNALS.remove()


def handle_again() -> None:
    """Takes the signals of ``handled`` back from a library that handles them since (Ray, JAX)."""
    _SIGNALS.install()


class Deferred(contextlib.AbstractContextManager):
    """Within it a signal of ``handled`` raises nothing: it is asked for, and raised at the end.

    Args:
        gather: int -> list of int, what every process says once all have come; by default there is
            this one alone. Processes that train together end together, whichever is signalled.
    """

    def __init__(self, gather: Callable[[int], list[int]] = lambda value: [value]) -> None:
        self._gather = gather

    def agreed(self) -> int:
        """The signal that some process received, or 0; every process must ask."""
        return max(self._gather(_SIGNALS.received))

    def __enter__(self) -> Deferred:
        _SIGNALS.deferred += 1
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        _SIGNALS.deferred -= 1
        if kind is not None:
            return
        number = self.agreed()
        if number:
            raise Interrupted(number)


def _in_child() -> None:
    """A forked process is its parent's to end."""
    if _SIGNALS.replaced:
        _SIGNALS.remove()
        os.close(_SIGNALS.pipe[0])
        _SIGNALS.deferred = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
