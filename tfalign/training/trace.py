"""Traces of some of a training's steps, for TensorBoard's profile page (XProf)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tfalign import backend
from tfalign.files import as_path, folder_beside, move

Paused = Callable[[], AbstractContextManager]


class Trace:
    """Writes down what runs in some steps, once.

    Args:
        steps: the first and the last of them; None for none.
        directory: TensorBoard's folder of the run, below which the trace goes to ``plugins/profile``.
    """

    def __init__(
        self, steps: tuple[int, int] | None = None, directory: str | os.PathLike = ""
    ) -> None:
        self._steps = steps
        self._directory = directory
        self._open = contextlib.ExitStack()  # empty while there is no trace
        self._folder: Path | None = None

    @contextlib.contextmanager
    def step(self, number: int, paused: Paused) -> Iterator[None]:
        """Around an update.

        Args:
            number: of the step.
            paused: a context in which the last update is computed and no clock runs.
        """
        if self._steps is None or not self._steps[0] <= number <= self._steps[1]:
            yield
            return
        if self._folder is None:
            with paused():
                self._folder = self._open.enter_context(folder_beside(as_path(self._directory)))
                backend.start_trace(self._folder)
        with backend.traced_step(number):
            yield
        if number == self._steps[1]:
            self.close(paused)

    def close(self, paused: Paused) -> None:
        """Writes the trace, if there is one that was not."""
        if self._folder is None:
            return
        with paused(), self._open:
            backend.stop_trace()
            for file in sorted(self._folder.rglob("*")):
                if file.is_file():
                    target = as_path(self._directory) / file.relative_to(self._folder).as_posix()
                    target.parent.mkdir(parents=True, exist_ok=True)
                    move(file, target)
        self._folder = None
