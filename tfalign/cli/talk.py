"""``tfalign generate`` and ``tfalign chat``: a model in the terminal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from tfalign.cli import records
from tfalign.files import append_line
from tfalign.pretrained import load
from tfalign.tools import FORMATS, format_of, result_message
from tfalign.trainers.speakers import toolbox_of


def generate(job: records.GenerateJob) -> None:
    """Prints continuations as their tokens come."""
    pretrained = load(job.model, dropout=0.0)
    prompts = [job.prompt] if job.prompt else typed("> ")
    for index, prompt in enumerate(prompts):
        choices = _choices(job, index)
        _shown(pretrained.stream(prompt.replace("\\n", "\n"), **choices))


def chat(job: records.ChatJob) -> None:
    """Answers line by line; the conversation is the prompt of the next answer.

    "/undo" takes back the last line with its answer, "/save FILE" writes the conversation as a line of JSON, as
    ``tfalign sft --conversations`` reads it. Calls of tools are run, and their results shown.

    Raises:
        ValueError: if a conversation no longer fits the model, with the number of its tokens; or a tool is none.
    """
    talk = _Talk(job)
    for line in typed("you: "):
        command, _, argument = line.partition(" ")
        if command == "/undo":
            talk.undo()
        elif command == "/save":
            talk.save(argument)
        elif command.startswith("/"):
            print(f"commands are /undo and /save FILE. Received: {command}")
        else:
            talk.answer(line)


class _Talk:
    """A conversation in the terminal."""

    def __init__(self, job):
        self._job = job
        self._toolbox = toolbox_of(job.tools, job.turns)
        self._pretrained = load(job.model, dropout=0.0)
        named = job.turns.call_format
        template = self._pretrained.tokenizer.chat_template
        self._format = FORMATS[named] if named else format_of(template)
        self._messages = [{"role": "system", "content": job.system}] if job.system else []
        self._answers = 0

    def answer(self, line):
        """The model's turns until one without a call."""
        self._messages.append({"role": "user", "content": line})
        schemas = self._toolbox.schemas if self._toolbox else None
        for turn in itertools.count(1):
            print("model: ", end="")
            choices = _choices(self._job, self._answers) | {"tools": schemas}
            said = _shown(self._pretrained.stream(self._messages, **choices))
            self._answers += 1
            self._messages.append({"role": "assistant", "content": said})
            if turn == self._job.turns.max_turns or not self._called(said):
                return

    def _called(self, said):
        """Whether the turn has calls; their results are messages then."""
        calls = self._format.read(said) if self._toolbox else []
        for call in calls:
            message = result_message(call, self._toolbox(call))
            print(f"{message['name']}: {message['content']}")
            self._messages.append(message)
        return bool(calls)

    def undo(self):
        """Takes back the last line and what followed it."""
        asked = [at for at, message in enumerate(self._messages) if message["role"] == "user"]
        del self._messages[asked[-1] if asked else len(self._messages) :]

    def save(self, file):
        """Adds the conversation to a file of JSON lines."""
        if not file:
            print("/save needs the name of a file")
            return
        try:
            line = json.dumps({"messages": self._messages}, ensure_ascii=False)
            append_line(file, line.encode("utf-8"))
        except OSError as error:
            print(f"{file} cannot be written: {error}")


def _choices(job: Any, index: int) -> dict[str, Any]:
    """Arguments of ``Pretrained.stream`` for the answer of a number."""
    sampling = job.sampling
    return {
        "max_new_tokens": job.max_new_tokens,
        "constraint": job.constraint,
        "temperature": sampling.temperature,
        "top_k": 1 if sampling.greedy else sampling.top_k or 0,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "seed": sampling.seed + index,
    }


def _shown(pieces: Iterable[str]) -> str:
    """Prints pieces as they come; all of them."""
    said = []
    for piece in pieces:
        print(piece, end="", flush=True)
        said.append(piece)
    print()
    return "".join(said)


def typed(mark: str) -> Iterator[str]:
    """Lines typed until an empty one, or the end of the input."""
    while True:
        try:
            line = input(mark)
        except EOFError:
            return
        if not line:
            return
        yield line
