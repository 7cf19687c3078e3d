"""Batches that grow while a model learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfalign.data.batches import BatchStream
from tfalign.data.checks import is_whole


class Ramp:
    """One stream after the other: few and short rows first, which teach as much for less (batch size:
    Brown et al. 2020, appendix B; length: Li et al. 2021). Every stream's shape is one program.

    Args:
        stages: pairs of a number of batches and the BatchStream they come from, in order.
        last: BatchStream, of all further batches.

    Raises:
        ValueError: if a stage has no batch.
    """

    def __init__(self, stages: Sequence[tuple[int, BatchStream]], last: BatchStream) -> None:
        counts = [count for count, _ in stages]
        if not all(is_whole(count, least=1) for count in counts):
            raise ValueError(f"A stage of a ramp has at least one batch. Received: {counts}")
        self._counts = counts
        self._streams = [*(stream for _, stream in stages), last]
        self._taken = 0

    def __iter__(self) -> Ramp:
        return self

    def __next__(self) -> tuple:
        batch = next(self._streams[self._stage()])
        self._taken += 1
        return batch

    def _stage(self):
        before = self._taken
        for stage, count in enumerate(self._counts):
            if before < count:
                return stage
            before -= count
        return len(self._counts)

    def state(self) -> dict[str, Any]:
        """Where the ramp and its streams stand, as JSON can hold it."""
        return {"batches": self._taken, "streams": [stream.state() for stream in self._streams]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to where ``state`` was taken.

        Raises:
            ValueError: if the state is of other streams.
        """
        if len(state["streams"]) != len(self._streams):
            raise ValueError(
                f"The ramp has {len(self._streams)} streams. Received: {len(state['streams'])} states"
            )
        for stream, stood in zip(self._streams, state["streams"]):
            stream.restore(stood)
        self._taken = state["batches"]
