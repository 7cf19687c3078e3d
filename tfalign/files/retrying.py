"""Lost connections are tried again, with a bound, and then end in one sentence."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import TypeVar

DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds of waiting before the second attempt, the third ..."""
MOST_SECONDS = 60.0
"""After so long no further attempt is begun: a library below may have waited by itself."""

_CERTAIN = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ImportError,
    NotImplementedError,
    TypeError,
    AttributeError,
)
_REFUSED = (400, 401, 403)

T = TypeVar("T")


class UnreachableError(OSError):
    """A bucket that did not answer, however often it was asked, or refused.

    Args:
        message: one sentence, which names the path.
    """

    def __init__(self, message: str) -> None:
        super().__init__(errno.EIO, message)

    def __str__(self) -> str:
        return self.strerror


def retried(path: str | os.PathLike, function: Callable[[], T]) -> T:
    """What a function returns that talks to a bucket; one that lost the connection is called again.

    Args:
        path: what it is about, for the message.
        function: one that may be called twice: reads, or writes a whole object.

    Raises:
        UnreachableError: if no attempt succeeded, or the bucket refuses.
        OSError: that the object is not there, or the like, at once.
    """
    begun, attempt = time.monotonic(), 0
    while True:
        try:
            return function()
        except _CERTAIN:
            raise
        except Exception as error:  # every library below has errors of its own for this
            passed = time.monotonic() - begun
            delay = DELAYS[attempt] if attempt < len(DELAYS) else MOST_SECONDS
            attempt += 1
            if _is_refusal(error):
                raise UnreachableError(f"{path} is refused: {_told(error)}.") from error
            if passed + delay >= MOST_SECONDS:
                raise UnreachableError(
                    f"{path} cannot be reached: {attempt} attempts in {passed:.0f} seconds failed, the"
                    f" last with {_told(error)}."
                ) from error
        time.sleep(delay)


def _is_refusal(error: Exception) -> bool:
    """Whether asking again is of no use: credentials that are absent or not enough."""
    response = getattr(error, "response", None)
    status = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    code = status.get("HTTPStatusCode", getattr(error, "code", None))
    named = "Credentials" in type(error).__name__ or str(error).startswith("Forbidden")
    return named or str(code) in map(str, _REFUSED)


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"
