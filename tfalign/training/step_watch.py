"""How fast a training is, and traces of some of its steps.

Nothing here waits for a device but where the training does anyhow: before metrics are logged, a checkpoint is written, the
held-out data are evaluated, and after a program was compiled.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tfalign import backend
from tfalign.training.accelerators import device_named
from tfalign.training.metrics_log import MEASURED
from tfalign.training.trace import Trace

try:
    import resource
except ImportError:  # Windows
    resource = None


class StepWatch:
    """A stopwatch of the steps between two lines of metrics.

    It runs through steps and stands still in ``paused``. A step in which a program was compiled counts for nothing.

    >>> watch = StepWatch(peak=1e11)
    >>> with watch.step(1):
    ...     watch.note({"loss": 0.5}, tokens=100, operations=1e6)
    >>> numbers = watch.read()
    >>> sorted(numbers.keys() - {"memory_gb"})
    ['mfu', 'step_seconds', 'step_tflops', 'tokens_per_second']

    Args:
        trace: Trace of some of the steps; None for none.
        peak: operations that all devices can do in a second; None where that is not known.
        clock: ``() -> seconds``.

    Attributes:
        clock: as given.
    """

    def __init__(
        self,
        trace: Trace | None = None,
        peak: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._trace = trace or Trace()
        self._peak = peak
        self.clock = clock
        self._pending: Mapping[str, Any] = {}
        self._since: float | None = None  # when it began to run; None while it stands still
        self._elsewhere = 0  # programs compiled while it stood still
        self._forget()

    def _forget(self):
        self._seconds = 0.0
        self._steps = self._tokens = self._operations = 0
        self._knows_tokens = self._knows_operations = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around an update."""
        self._start()
        before = self._state()
        with self._trace.step(number, self.paused):
            yield
        if self._programs() == before[0]:
            self._steps += 1
            return
        self.wait()
        _, self._seconds, self._tokens, self._operations = before
        self._since = self.clock()

    def _state(self):
        """What a step in which a program is compiled leaves as it was."""
        seconds = self._seconds + self.clock() - self._since
        return self._programs(), seconds, self._tokens, self._operations

    def note(
        self,
        scalars: Mapping[str, Any],
        tokens: int | None = None,
        operations: float | None = None,
    ) -> None:
        """What a step's update returned, and how much it did.

        Args:
            scalars: the update's, which may not be computed yet.
            tokens: int, those it learned from; None where they are not counted.
            operations: float, those of its matrix products; None where they are not known.
        """
        self._pending = scalars
        self._tokens += tokens or 0
        self._operations += operations or 0
        self._knows_tokens |= tokens is not None
        self._knows_operations |= operations is not None

    def wait(self) -> None:
        """Until the last update is computed."""
        for value in list(self._pending.values())[:1]:  # all of them are one program's
            np.asarray(value)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within it the last update is computed, and the watch stands still."""
        self.wait()
        if self._since is None:
            yield
            return
        self._stop()
        before = backend.programs_compiled()
        yield
        self._elsewhere += backend.programs_compiled() - before
        self._start()

    def read(self) -> dict[str, float]:
        """The means since it was last read, from which on it counts anew.

        Returns:
            dict with names of ``MEASURED``: "step_seconds"; where tokens are counted "tokens_per_second"; where
            operations are known "step_tflops" (10^12 of a step) and, with a peak, "mfu" (the fraction of it that they
            are); "memory_gb", the most that the device, or on a CPU the process, has had in use (10^9 bytes).
        """
        self._stop()
        numbers = self._speeds() if self._steps and self._seconds > 0 else {}
        self._forget()
        memory = used_memory()
        if memory is not None:
            numbers["memory_gb"] = memory / 1e9
        assert numbers.keys() <= MEASURED
        return numbers

    def _speeds(self):
        numbers = {"step_seconds": self._seconds / self._steps}
        if self._knows_tokens:
            numbers["tokens_per_second"] = self._tokens / self._seconds
        if self._knows_operations:
            numbers["step_tflops"] = self._operations / self._steps / 1e12
            if self._peak is not None:
                numbers["mfu"] = self._operations / self._seconds / self._peak
        return numbers

    def close(self) -> None:
        """Writes a trace that has not reached its last step."""
        self._trace.close(self.paused)

    def _start(self):
        if self._since is None:
            self._since = self.clock()

    def _stop(self):
        if self._since is not None:
            self.wait()
            self._seconds += self.clock() - self._since
            self._since = None

    def _programs(self):
        return backend.programs_compiled() - self._elsewhere


class Unwatched:
    """In the place of a StepWatch: nothing is measured."""

    def step(self, number: int) -> contextlib.AbstractContextManager:
        """Around an update."""
        return contextlib.nullcontext()

    def note(self, scalars: Mapping[str, Any], *counts: float | None) -> None:
        """Does nothing."""

    paused = contextlib.nullcontext

    def read(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """Does nothing."""


def used_memory() -> int | None:
    """Most bytes that the device has had in use; where it does not count them, that were resident in this process.
    None where neither is known."""
    used = backend.device_memory()
    if used is None and resource is not None:
        used = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used


def peak_of_devices(precision: str, tflops: float | None = None) -> float | None:
    """Operations that all devices a program is spread over can do in a second; None where they are not known.

    Args:
        precision: Keras dtype policy, of which the data sheets know two.
        tflops: of one device, 10^12 operations a second; None for its data sheet's.
    """
    if tflops is None:
        sheet = device_named(backend.device_name())
        tflops = getattr(sheet, precision, None)
    return None if tflops is None else 1e12 * tflops * backend.device_count()
