"""``tfalign generate`` and ``tfalign chat``: a model in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tfalign.cli import records
from tfalign.pretrained import load


def generate(job: records.GenerateJob) -> None:
    """Prints continuations as their tokens come."""
    pretrained = load(job.model, dropout=0.0)
    prompts = [job.prompt] if job.prompt else _typed("> ")
    for index, prompt in enumerate(prompts):
        choices = _choices(job, index)
        _shown(pretrained.stream(prompt.replace("\\n", "\n"), **choices))


def chat(job: records.ChatJob) -> None:
    """Answers line by line; the conversation is the prompt of the next answer.

    Raises:
        ValueError: if a conversation no longer fits the model, with the number of its tokens.
    """
    pretrained = load(job.model, dropout=0.0)
    messages = [{"role": "system", "content": job.system}] if job.system else []
    for index, line in enumerate(_typed("you: ")):
        messages.append({"role": "user", "content": line})
        print("model: ", end="")
        said = _shown(pretrained.stream(messages, **_choices(job, index)))
        messages.append({"role": "assistant", "content": said})


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


def _typed(mark: str) -> Iterator[str]:
    """Lines typed until an empty one, or the end of the input."""
    while True:
        try:
            line = input(mark)
        except EOFError:
            return
        if not line:
            return
        yield line
