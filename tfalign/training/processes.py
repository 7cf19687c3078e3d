"""The processes of one training: which one this is, and how they communicate.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Processes(NamedTuple):
    """The processes of one training, which write one run.

    Attributes:
        index: int, which of them this one is; the first is 0.
        gather: int -> list of int, what every process says, in their order, once all have come.
    """

    index: int
    gather: Callable[[int], list[int]]

    def first_alone(self, function: Callable[[], T], otherwise: ValueError) -> T | None:
        """What a function returns that the first process calls; None in the others, which wait for it.

        Raises:
            ValueError, OSError: what the function raised; in the others ``otherwise``.
        """
        result = failure = None
        if self.index == 0:
            try:
                result = function()
            except (ValueError, OSError) as error:
                failure = error
        if any(self.gather(int(failure is not None))):
            raise failure or otherwise
        return result


ALONE = Processes(0, lambda value: [value])
