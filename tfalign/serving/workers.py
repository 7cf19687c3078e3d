"""Work in processes of their own, within bounds of time and memory.

What some requests cost depends on what clients send. It is done where it can be cut off and holds up nobody: a module
that is run (``python -m``) reads questions from its standard input and writes answers, a line of JSON each. It ends
with its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from tfalign.serving.requests import RefusedError
from tfalign.text import Tokenizer

_STARTUP_SECONDS = 60.0
_MEMORY = 4 << 30  # bytes of a process's address space
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class Workers:
    """Processes with a tokenizer that answer questions, for an event loop.

    Args:
        module: str, what is run, by ``answer_lines``; its arguments are the tokenizer's folder, ``seconds`` and
            ``arguments``.
        tokenizer: ``tfalign.text.Tokenizer``.
        name: str, what is asked, for those who are refused.
        seconds: float, an answer may take, and a question may wait for others.
        arguments: sequence of what else the module is told.
        processes: int, questions answered at once.
    """

    def __init__(
        self,
        module: str,
        tokenizer: Tokenizer,
        name: str,
        seconds: float,
        arguments: Sequence[Any] = (),
        processes: int = 1,
    ) -> None:
        self._module = module
        self._tokenizer = tokenizer
        self._name = name
        self._seconds = seconds
        self._arguments = arguments
        self._processes = [_Process() for _ in range(processes)]
        self._idle: asyncio.Queue[_Process] = asyncio.Queue()
        for process in self._processes:
            self._idle.put_nowait(process)
        self._folder: tempfile.TemporaryDirectory | None = None

    async def start(self) -> None:
        """Starts the processes now, not with their first question."""
        await asyncio.gather(*(process.start(self._command()) for process in self._processes))

    async def stop(self) -> None:
        """Ends the processes."""
        await asyncio.gather(*(process.kill() for process in self._processes))
        if self._folder is not None:
            self._folder.cleanup()

    async def ask(self, question: Any) -> dict[str, Any]:
        """The answer.

        Raises:
            RefusedError: 400 if it is an error or takes too long, 503 if others do.
        """
        try:
            process = await asyncio.wait_for(self._idle.get(), self._seconds)
        except asyncio.TimeoutError:
            message = f"Too many requests wait for the {self._name}; try again."
            raise RefusedError(503, message, "overloaded") from None
        try:
            if not process.is_running:
                await process.start(self._command())
            answer = await asyncio.wait_for(process.ask(question), self._seconds)
        except asyncio.TimeoutError:
            await process.kill()
            raise RefusedError(
                400, f"The {self._name} took more than {self._seconds:g} seconds."
            ) from None
        except (OSError, ValueError):
            await process.kill()
            raise RefusedError(400, f"The {self._name} ended its process.") from None
        except BaseException:  # the server ends; an answer to come would be the next one's
            await process.kill()
            raise
        finally:
            self._idle.put_nowait(process)
        if "error" in answer:
            raise RefusedError(400, answer["error"])
        return answer

    def _command(self):
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tokenizer")
            self._tokenizer.save(self._folder.name)
        arguments = map(str, (self._folder.name, self._seconds, *self._arguments))
        return [sys.executable, "-m", self._module, *arguments]


class _Process:
    """One process and its two pipes."""

    def __init__(self):
        self._process = None

    @property
    def is_running(self):
        return self._process is not None

    async def start(self, command):
        """Raises an OSError if it does not answer."""
        path = os.pathsep.join(filter(None, sys.path))
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | _ONE_THREAD | {"PYTHONPATH": path},
            start_new_session=True,  # an interrupt at the terminal is the server's
            limit=1 << 26,
        )
        await asyncio.wait_for(self._read(), _STARTUP_SECONDS)

    async def ask(self, question):
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        await self._process.stdin.drain()
        return await self._read()

    async def _read(self):
        line = await self._process.stdout.readline()
        if not line:
            raise OSError("the process has ended")
        return json.loads(line)

    async def kill(self):
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        await process.wait()


def answer_lines(answer: Callable[[Any], dict[str, Any]], name: str, seconds: float) -> None:
    """What a module does that ``Workers`` run: answers questions until the input ends.

    Args:
        answer: ``question -> dict``; a ValueError's sentence is the answer's "error".
        name: str, as ``Workers`` have it.
        seconds: float, after which the process ends, should nobody be there to end it.
    """
    _limit_memory()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin.buffer:
        if hasattr(signal, "alarm"):
            signal.alarm(math.ceil(seconds) + 1)
        print(json.dumps(_answered(answer, name, json.loads(line))), flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _answered(answer, name, question):
    try:
        return answer(question)
    except ValueError as error:
        return {"error": str(error).encode("ascii", "backslashreplace").decode()}
    except MemoryError:
        return {"error": f"The {name} needs too much memory."}


def _limit_memory():
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
