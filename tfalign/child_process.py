"""A function in a process of its own: cut off when a call takes too long, and gone with its parent.

Whatever the function started goes with it. The kernel sees to that when the parent is killed: the
process holds one end of a pipe on which nothing is ever written, and its hanging up is a SIGKILL to
the process's whole group (Linux; fcntl(2), F_SETSIG). Elsewhere a thread watches the pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_STARTUP_SECONDS = 120.0  # where a process starts from nothing, it imports what the function needs
_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans of the function's children stay below its process
_children: weakref.WeakSet = weakref.WeakSet()


class ChildError(RuntimeError):
    """A call of a function in a process of its own that has no answer."""


class ChildFunction:
    """A function that runs elsewhere; any number of threads may call it, one after the other.

    The process starts with the first call, and again after it was killed. A copy (by ``copy``, pickle
    or a fork) has a process of its own.

    Args:
        function: what it takes and returns goes through pickle. Where processes start from nothing, one that
            pickle can name: defined in a module.
        timeout: float, seconds of a call, not counting the wait for another thread's.
        start_method: how the process is made, see ``multiprocessing``; None for its default.

    Raises:
        ValueError: if the platform has no such start method.
    """

    def __init__(
        self, function: Callable[..., Any], timeout: float, start_method: str | None = None
    ) -> None:
        multiprocessing.get_context(start_method)
        self._function = function
        self._timeout = timeout
        self._start_method = start_method
        self._is_closed = False
        self._begin_anew()

    def _begin_anew(self):
        self._lock = threading.Lock()
        self._process = self._pipe = self._lifeline = self._finalizer = None
        _children.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: getattr(self, name)
            for name in ("_function", "_timeout", "_start_method", "_is_closed")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin_anew()

    def __call__(self, *arguments: Any) -> Any:
        """The function's answer.

        Raises:
            ChildError: if the function raises, ends its process, or returns what pickle refuses.
            TimeoutError: if it takes too long.
        """
        with self._lock:
            if self._is_closed:
                raise ChildError("the function was closed")
            try:
                if self._process is None:
                    self._start()
                self._pipe.send(arguments)
                failure, answer = self._receive(self._timeout)
            except (EOFError, ConnectionError):
                self._end()
                raise ChildError("the function ended its process") from None
            except (
                BaseException
            ):  # an interrupt too: the answer to come would be taken for the next
                self._end()
                raise
        if failure:
            raise ChildError(failure)
        return answer

    def close(self) -> None:
        """Ends the process and what it started, after the call that is running; there are no more."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _start(self):
        context = multiprocessing.get_context(self._start_method)
        self._pipe, pipe = context.Pipe()
        watched, self._lifeline = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_serve, args=(self._function, pipe, watched), daemon=True
        )
        self._process.start()
        self._finalizer = weakref.finalize(self, end_with_descendants, self._process)
        pipe.close()
        watched.close()
        self._receive(_STARTUP_SECONDS)

    def _receive(self, seconds):
        if not self._pipe.poll(seconds):
            raise TimeoutError(f"no answer within {seconds:g} seconds")
        return self._pipe.recv()

    def _end(self):
        if self._finalizer is not None:
            self._finalizer()
        self._forget()

    def _forget(self):
        """Closes this process's ends of the pipes and leaves the process alone."""
        if self._finalizer is not None:
            self._finalizer.detach()
        for pipe in (self._pipe, self._lifeline):
            if pipe is not None:
                pipe.close()
        self._process = self._pipe = self._lifeline = self._finalizer = None


def end_with_descendants(process: multiprocessing.process.BaseProcess) -> None:
    """Kills a child process of this one and all that it started."""
    if not _is_there(process):
        return
    stopped: set[int] = set()
    while new := {process.pid, *_descendants(process.pid)} - stopped:
        for pid in new:  # what is stopped starts no others
            _send(os.kill, pid, signal.SIGSTOP)
        stopped |= new
    _send(os.killpg, process.pid, signal.SIGKILL)
    for pid in stopped:
        _send(os.kill, pid, signal.SIGKILL)
    process.join()


def _is_there(process):
    """bool, whether the process's number is still its own: nobody has asked yet how it ended."""
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, AttributeError):  # not a child of this process, or no such call
        return process.is_alive()
    return True


def _send(kill, pid, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(pid, number)


def _descendants(pid):
    """set of int, read off /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "pid (name) state parent ...", where a name may hold spaces and brackets
            parent = int(file.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(file.parent.name))
    found, left = set(), [pid]
    while left:
        new = children.get(left.pop(), [])
        found.update(new)
        left += new
    return found


def _serve(function, pipe, lifeline):
    """Answers arguments with (failure or "", answer) until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the parent does then
    _end_with_parent(lifeline)
    pipe.send(("", None))
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("", function(*arguments)))
        except Exception as error:
            pipe.send((f"{type(error).__name__}: {error}", None))


def _end_with_parent(lifeline):
    with contextlib.suppress(OSError, AttributeError):
        os.setsid()  # a group of its own, to which its children belong
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if not hasattr(fcntl, "F_SETSIG"):
        threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
        return
    fcntl.fcntl(lifeline.fileno(), fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline.fileno(), fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(lifeline.fileno(), fcntl.F_SETFL, flags | os.O_ASYNC)
    if lifeline.poll():  # it has hung up before this was set
        _watch(lifeline)


def _watch(lifeline):
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _in_forked_child():
    """What this process got from its parent is the parent's: the processes, and their answers."""
    for child in list(_children):
        child._forget()
        child._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
