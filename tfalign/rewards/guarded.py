"""Reward functions that may raise or hang, held to bounds."""

from __future__ import annotations

import multiprocessing
import signal

from tfalign.rewards.errors import RewardError, finite_number

_STARTUP_SECONDS = 120.0  # where a process starts from nothing, it imports what the function needs


class Guarded:
    """A function of texts that is tried a few times, each time for so long.

    An attempt fails if the function raises, takes longer than ``timeout``, ends its process, or
    returns something that is not a finite number. With a timeout the function runs in a process of
    its own, the only thing that can be cut off whatever it does; it is started on first use, and
    killed and started again when it hangs. What the function changes there stays there.

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

    def __init__(self, function, timeout=None, retries=0, fallback=None, start_method=None):
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout must be positive. Received: timeout={timeout}")
        if retries < 0:
            raise ValueError(f"retries must not be negative. Received: retries={retries}")
        self.retries = retries
        self.fallback = None if fallback is None else finite_number(fallback, "fallback")
        self.fallbacks = 0
        self.last_failure = ""
        if timeout is not None:
            function = _Cancellable(function, timeout, start_method)
        self._function = function

    def __call__(self, prompt, response):
        """float, the function's score or the fallback.

        Raises:
            RewardError: if every attempt failed and there is no fallback.
        """
        for _ in range(1 + self.retries):
            try:
                return finite_number(self._function(prompt, response), "The score")
            except Exception as error:
                failure = error
                self.last_failure = _sentence(error)
        if self.fallback is None:
            raise RewardError(
                f"{1 + self.retries} attempts failed, the last with {self.last_failure}"
            ) from failure
        self.fallbacks += 1
        return self.fallback


class _Cancellable:
    """A function in a process of its own, which is killed when a call takes too long."""

    def __init__(self, function, timeout, start_method):
        self._function = function
        self._timeout = timeout
        self._context = multiprocessing.get_context(start_method)
        self._process = self._pipe = None

    def __call__(self, prompt, response):
        if self._process is None:
            self._start()
        try:
            self._pipe.send((prompt, response))
            failure, score = self._receive(self._timeout)
        except BaseException:  # an interrupt too: the answer to come would be taken for the next
            self._kill()
            raise
        if failure:
            raise RewardError(failure)
        return score

    def _start(self):
        self._pipe, other = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(self._function, other, self._pipe), daemon=True
        )
        try:
            self._process.start()
            other.close()
            self._receive(_STARTUP_SECONDS)
        except BaseException:
            self._kill()
            raise

    def _receive(self, seconds):
        if not self._pipe.poll(seconds):
            raise TimeoutError(f"no answer within {seconds:g} seconds")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RewardError("the function ended its process") from None

    def _kill(self):
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._process = self._pipe = None


def _serve(function, pipe, parents_end):
    """Answers (prompt, response) with (failure or "", score) until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    parents_end.close()  # a copy left open here would hide that the parent is gone
    pipe.send(("", 0.0))
    while True:
        try:
            prompt, response = pipe.recv()
        except EOFError:
            return
        try:
            answer = "", finite_number(function(prompt, response), "The score")
        except Exception as error:
            answer = _sentence(error), 0.0
        pipe.send(answer)


def _sentence(error):
    return str(error) if isinstance(error, RewardError) else f"{type(error).__name__}: {error}"
