"""The state of a run: everything that changes, saved and restored together."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfalign import backend
from tfalign.training.background_save import BackgroundSave
from tfalign.training.checkpoint import Checkpointer, check_arrays
from tfalign.training.checkpoint_files import CheckpointError, Part


class RunState:
    """Weights, optimizer moments, data position, controllers: what a resume needs to go on as if
    nothing had happened.

    Args:
        checkpointer: Checkpointer.
        variables: dict of name to list of Keras variables (a model's, an optimizer's).
        stateful: dict of name to objects with ``state()`` and ``restore(state)``, JSON-able.
        background: whether ``begin_save`` leaves the writing to another thread.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        variables: Mapping[str, Sequence[keras.Variable]],
        stateful: Mapping[str, Any],
        background: bool = True,
    ) -> None:
        self.checkpointer = checkpointer
        self.stateful = stateful
        self._background = BackgroundSave(checkpointer) if background else None
        # two models of a run may have variables of one path: the index keeps them apart
        self._variables = {
            f"{group}/{index:04d}/{_lasting_path(variable)}": variable
            for group, members in variables.items()
            for index, variable in enumerate(members)
        }

    def save(self, step: int) -> None:
        """Writes a checkpoint of everything after ``step`` updates. Of several processes all must call it:
        each writes the parts that it has."""
        self.checkpointer.save(step, self._arrays(), self._state())

    def begin_save(self, step: int) -> None:
        """As ``save``, but returns when everything is copied into this machine's memory; another thread writes it.

        A save that is not finished yet is waited for first. Raises what it raised.
        """
        if self._background is None:
            self.save(step)
            return
        self._background.finish()
        self._background.begin(step, self._arrays, copy.deepcopy(self._state()))

    def check(self) -> None:
        """Finishes a save whose writing has ended, or raises what it raised. Of several processes all must call it."""
        if self._background is not None:
            self._background.check()

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """When it ends, every save that began within it is whole; after an error no thread writes any more."""
        try:
            yield
        except BaseException:
            if self._background is not None:
                self._background.wait()
            raise
        if self._background is not None:
            self._background.finish()

    def _arrays(self):
        """What this process is to write, in memory of its own: an update may use a variable's own anew."""
        own = {name: backend.own_parts(variable) for name, variable in self._variables.items()}
        return {
            name: [
                Part(tuple(self._variables[name].shape), start, _own_memory(array))
                for start, array in parts
            ]
            for name, parts in own.items()
            if parts
        }

    def _state(self):
        return {name: member.state() for name, member in self.stateful.items()}

    def restore(self, step: int | None = None) -> int:
        """Goes back to a checkpoint, if there is one.

        Args:
            step: int, which one, and those after it are forgotten; None for the newest.

        Returns:
            int, the updates done so far; 0 where there is no checkpoint.

        Raises:
            CheckpointError: if it is damaged or of another model; of the newest, naming the newest one
                that is whole.
        """
        checkpointer = self.checkpointer
        if step is None and checkpointer.latest() is None:
            return 0
        newest = step is None
        try:
            step, arrays, state = checkpointer.restore(step)
        except CheckpointError as error:
            if newest:
                raise CheckpointError(f"{error} {self._way_out()}") from error
            raise
        self._assign(step, arrays, state)
        checkpointer.forget_after(step)
        return step

    def _way_out(self):
        """What to do instead of going back to a newest checkpoint that is damaged."""
        for step in reversed(self.checkpointer.steps()):
            try:
                self.checkpointer.restore(step)
            except CheckpointError:
                continue
            return f"The one of step {step} is whole: --resume_from={step} goes on from there."
        return (
            "No other checkpoint of this stage is whole: it must begin anew, in another directory."
        )

    def _assign(self, step, arrays, state):
        folder = self.checkpointer.directory / f"step-{step:08d}"
        check_arrays(self._variables, arrays, folder)
        for name, variable in self._variables.items():
            variable.assign(np.asarray(arrays[name]))
        missing = [name for name in self.stateful if name not in state]
        if missing:
            raise CheckpointError(f"{folder}: there is no state of {missing[0]!r}.")
        for name, member in self.stateful.items():
            member.restore(state[name])


def _own_memory(array):
    return array if array.flags.owndata else array.copy()


def _lasting_path(variable):
    """A variable's path without the numbers by which Keras tells unnamed objects apart
    ("adam_w_1", "seed_generator_3"): they count what the process made before, and a resumed run
    need not make it all again."""
    return re.sub(r"_\d+(?=/|$)", "", variable.path)
