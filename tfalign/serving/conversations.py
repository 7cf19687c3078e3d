"""Conversations to tokens in processes of their own, within bounds of time and memory.

A chat template is a program that comes with a model, and what it costs depends on what clients send. It
runs here, where it can be cut off and holds up nobody: ``python -m tfalign.serving.conversations`` reads
conversations from its standard input and writes their ids, a line of JSON each. It ends with its parent.
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
from collections.abc import Sequence

from tfalign.serving.requests import RefusedError
from tfalign.text import Message, Tokenizer, encode_conversation

_STARTUP_SECONDS = 60.0
_MEMORY = 4 << 30  # bytes of a process's address space
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class ConversationEncoder:
    """``encode_conversation(..., open_ended=True)`` for an event loop.

    Args:
        tokenizer: ``tfalign.text.Tokenizer``.
        seconds: float, a conversation may take, and may wait for others.
        most_tokens: int; of more, no ids are returned.
        processes: int, conversations encoded at once.
    """

    def __init__(
        self, tokenizer: Tokenizer, seconds: float, most_tokens: int, processes: int = 2
    ) -> None:
        self._tokenizer = tokenizer
        self._seconds = seconds
        self._most_tokens = most_tokens
        self._processes = [_Process() for _ in range(processes)]
        self._idle: asyncio.Queue[_Process] | None = None
        self._folder: tempfile.TemporaryDirectory | None = None

    async def start(self) -> None:
        """Starts the processes, if the tokenizer has a chat template."""
        if self._tokenizer.chat_template is None:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="tokenizer")
        self._tokenizer.save(self._folder.name)
        await asyncio.gather(*(process.start(self._command()) for process in self._processes))
        self._idle = asyncio.Queue()
        for process in self._processes:
            self._idle.put_nowait(process)

    async def stop(self) -> None:
        """Ends the processes."""
        await asyncio.gather(*(process.kill() for process in self._processes))
        if self._folder is not None:
            self._folder.cleanup()

    async def encode(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """The ids of a conversation that waits for the assistant, and how many there are.

        Raises:
            RefusedError: 400 if the template refuses it or takes too long, 503 if others do.
        """
        if self._idle is None:
            raise RefusedError(400, "The model has no chat template, so it takes no messages.")
        try:
            process = await asyncio.wait_for(self._idle.get(), self._seconds)
        except asyncio.TimeoutError:
            message = "Too many conversations wait for the chat template; try again."
            raise RefusedError(503, message, "overloaded") from None
        try:
            if not process.is_running:
                await process.start(self._command())
            answer = await asyncio.wait_for(process.ask(messages), self._seconds)
        except asyncio.TimeoutError:
            await process.kill()
            raise RefusedError(
                400, f"The chat template took more than {self._seconds:g} seconds."
            ) from None
        except (OSError, ValueError):
            await process.kill()
            raise RefusedError(400, "The chat template ended its process.") from None
        except BaseException:  # the server ends; an answer to come would be the next one's
            await process.kill()
            raise
        finally:
            self._idle.put_nowait(process)
        if "error" in answer:
            raise RefusedError(400, answer["error"])
        return answer["token_ids"], answer["count"]

    def _command(self):
        arguments = map(str, (self._folder.name, self._seconds, self._most_tokens))
        return [sys.executable, "-m", "tfalign.serving.conversations", *arguments]


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

    async def ask(self, messages):
        self._process.stdin.write(json.dumps(messages).encode() + b"\n")
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


def _serve(directory, seconds, most_tokens):
    """Answers conversations until the input ends."""
    tokenizer = Tokenizer.load(directory)
    _limit_memory()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin.buffer:
        if hasattr(signal, "alarm"):  # the kernel's, should nobody be there to end this
            signal.alarm(math.ceil(seconds) + 1)
        print(json.dumps(_answer(tokenizer, json.loads(line), most_tokens)), flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _answer(tokenizer, messages, most_tokens):
    try:
        messages = tuple(Message(*message) for message in messages)
        token_ids = encode_conversation(tokenizer, messages, open_ended=True).token_ids
    except ValueError as error:
        return {"error": str(error).encode("ascii", "backslashreplace").decode()}
    except MemoryError:
        return {"error": "The chat template needs too much memory."}
    return {
        "token_ids": token_ids if len(token_ids) <= most_tokens else [],
        "count": len(token_ids),
    }


def _limit_memory():
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
