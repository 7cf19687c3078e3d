"""Objects that one thread uses at a time: a second one is refused, not answered with the first one's."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable

_users: dict[int, int] = {}  # id of an object in use -> the thread in it


class SharedUseError(ValueError):
    """Two threads were in one object at once."""


def one_thread_at_a_time(method: Callable) -> Callable:
    """A method that refuses a thread while another one is in it, or in another such method of the object.

    Threads may take turns, and a method may call others. Nothing is kept in the object, so it can be
    copied and pickled as before.

    >>> class Counter:
    ...     @one_thread_at_a_time
    ...     def count(self, text):
    ...         return len(text)
    >>> Counter().count("four")
    4

    Raises:
        SharedUseError: by the method, naming the object's class.
    """

    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        thread = threading.get_ident()
        user = _users.get(id(self))
        if user == thread:
            return method(self, *args, **kwargs)
        if _users.setdefault(id(self), thread) != thread:
            raise SharedUseError(
                f"{type(self).__name__}.{method.__name__} was called while another thread uses the"
                " object; give each thread one of its own."
            )
        try:
            return method(self, *args, **kwargs)
        finally:
            del _users[id(self)]

    return guarded


class OneThread:
    """A context that a second thread may not enter; its own may, again. A copy is one of its own.

    Args:
        what: the object's name in the message.

    Raises:
        SharedUseError: on entering, if another thread is within.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise SharedUseError(
                f"Another thread is in the middle of a call of this {self._what}: each thread needs one"
                " of its own, such as copy.deepcopy makes"
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self):
        return type(self), (self._what,)


if hasattr(
    os, "register_at_fork"
):  # the threads that were in some object are not in the new process
    os.register_at_fork(after_in_child=_users.clear)
