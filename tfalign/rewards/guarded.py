"""Reward functions that may raise or hang, held to bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tfalign.child_process import ChildFunction
from tfalign.rewards.errors import RewardError, finite_number, sentence


class Guarded:
    """A function of texts that is tried a few times, each time for so long.

    An attempt fails if the function raises, takes longer than ``timeout``, ends its process, or
    returns something that is not a finite number. With a timeout the function runs in a process of
    its own, the only thing that can be cut off whatever it does; it is started on first use, and
    killed and started again when it hangs, with all that it started itself. What the function changes
    there stays there. Several threads may share the object: with a timeout their calls are made one
    after the other, without one at once, as the function itself must allow then.

    The process ends with ``close``, with the object, and with this process, however that ends.

    >>> with Guarded(lambda prompt, response: len(response), retries=2) as reward:
    ...     reward("How many?", "four")
    4.0

    Args:
        function: ``(prompt: str, response: str) -> float``. With a timeout and on platforms whose
            processes start from nothing, one that pickle can name: defined in a module.
        timeout: float, seconds an attempt may take; None for no limit, in this process.
        retries: int, further attempts after one that failed.
        fallback: float, the score where all attempts failed; None to raise.
        start_method: how the process is made, see ``multiprocessing``; None for its default.

    Attributes:
        fallbacks: int, how often ``fallback`` stood in.
        last_failure: str, why the last failed attempt failed; "" where none did.

    Raises:
        ValueError: if timeout is not positive, retries negative or fallback not finite.
    """

    def __init__(
        self,
        function: Callable[[str, str], float],
        timeout: float | None = None,
        retries: int = 0,
        fallback: float | None = None,
        start_method: str | None = None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout must be positive. Received: timeout={timeout}")
        if retries < 0:
            raise ValueError(f"retries must not be negative. Received: retries={retries}")
        self.retries = retries
        self.fallback = None if fallback is None else finite_number(fallback, "fallback")
        self.fallbacks = 0
        self.last_failure = ""
        if timeout is not None:
            function = ChildFunction(function, timeout, start_method)
        self._function = function
        self._is_closed = False
        self._counting = threading.Lock()

    def __call__(self, prompt: str, response: str) -> float:
        """The function's score, or the fallback.

        Raises:
            RewardError: if every attempt failed and there is no fallback, or after ``close``.
        """
        if self._is_closed:
            raise RewardError("This Guarded function was closed.")
        for _ in range(1 + self.retries):
            try:
                return finite_number(self._function(prompt, response), "The score")
            except Exception as error:
                failure = error
                self.last_failure = sentence(error)
        if self.fallback is None:
            raise RewardError(
                f"{1 + self.retries} attempts failed, the last with {sentence(failure)}"
            ) from failure
        with self._counting:
            self.fallbacks += 1
        return self.fallback

    def close(self) -> None:
        """Ends the function's process and what it started; further calls are refused."""
        self._is_closed = True
        if isinstance(self._function, ChildFunction):
            self._function.close()

    def __enter__(self) -> Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_counting"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _counting=threading.Lock())
