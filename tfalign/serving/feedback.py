"""Feedback over HTTP: what people choose and vote for becomes records in a file, by a request or on a page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tfalign.data import BadRecordError, FeedbackFile, PreferenceRecord, PromptRecord
from tfalign.serving.checks import shown
from tfalign.serving.fields import Reader, flag, read_fields, text
from tfalign.serving.json_texts import read_object
from tfalign.serving.label_page import HEADERS, PAGE
from tfalign.serving.limits import read_limited
from tfalign.serving.messages import messages
from tfalign.serving.requests import RefusedError
from tfalign.text import message_fields

_NONE = "This server takes no feedback: it was started without --feedback=FILE."
_MOST_TOKENS = 128  # of an answer on the page, unless another number is typed
_CHOICE, _VOTE = ("chosen", "rejected"), ("completion", "label")


class FeedbackDesk:
    """The routes of feedback.

    Args:
        server: ``app.Server``.
        file: FeedbackFile; None refuses all feedback.
        prompts: PromptRecords that the page shows one after another.

    Raises:
        ValueError: if a prompt is a conversation that the model cannot be asked.
    """

    def __init__(
        self, server: Any, file: FeedbackFile | None, prompts: Sequence[PromptRecord]
    ) -> None:
        self._server = server
        self._file = file
        self._is_chat = server.tokenizer.chat_template is not None
        self._prompts = [_asked(record, self._is_chat) for record in prompts]
        self.routes = [
            Route("/v1/feedback", self.take, methods=["POST"]),
            Route("/label", self.page),
            Route("/label/prompts", self.prompts),
        ]

    async def take(self, request: Request) -> JSONResponse:
        """Adds a record to the file; it is on the disk when the answer comes."""
        body = await read_limited(request, self._server.limits, self._server.ending)
        file = self._there()
        row = read_row(body, self._server.name)
        try:
            record = await asyncio.to_thread(file.add, row)
        except BadRecordError as error:
            raise RefusedError(400, f"The feedback is refused: {error.reason}.") from None
        except OSError as error:
            message = f"The feedback could not be written: {error.strerror}."
            raise RefusedError(500, message, "server_error") from None
        self._server.count(request.scope, 200)
        kind = "choice" if isinstance(record, PreferenceRecord) else "vote"
        return JSONResponse({"object": "feedback", "kind": kind})

    async def page(self, request: Request) -> Response:
        """Two answers side by side, to choose from."""
        self._there()
        return HTMLResponse(PAGE, headers=HEADERS)

    async def prompts(self, request: Request) -> JSONResponse:
        """What the page asks the server first: prompts, each a text or messages, and how the model is asked."""
        self._there()
        most = min(_MOST_TOKENS, self._server.engine.length // 2)
        return JSONResponse(
            {"is_chat": self._is_chat, "prompts": self._prompts, "max_tokens": most}
        )

    def _there(self):
        if self._file is None:
            raise RefusedError(501, _NONE)
        return self._file


def read_row(body: bytes, model: str) -> dict[str, Any]:
    """The record's fields in a body.

    Args:
        body: JSON in UTF-8: "prompt" or "messages"; "chosen" and "rejected", or "completion" and "label"; "user" and
            "model" where they are known.
        model: the served one's name, kept where the body has none.

    Raises:
        RefusedError: 400, in one sentence.
    """
    try:
        fields = read_fields(read_object(body, "body"), _FIELDS)
        _check_together(fields)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None
    prompt = fields.pop("messages", None) or fields.pop("prompt")
    return {"prompt": prompt, "model": model} | fields


def _check_together(fields: Mapping[str, Any]) -> None:
    if ("prompt" in fields) == ("messages" in fields):
        received = "both" if "prompt" in fields else "neither"
        raise ValueError(f"Feedback has a prompt or messages. Received: {received}")
    given = [name for name in (*_CHOICE, *_VOTE) if name in fields]
    if tuple(given) not in (_CHOICE, _VOTE):
        raise ValueError(
            "Feedback has chosen and rejected, or completion and label. "
            f"Received: {', '.join(given) or 'none of them'}"
        )


def _texts(name, value):
    """Messages that a record can hold: a role and a text each."""
    read = messages(name, value)
    for place, message in enumerate(read):
        if message.keys() != {"role", "content"}:
            raise ValueError(
                f"{name}[{place}] must have role and content alone, which is what a record holds. "
                f"Received: {', '.join(message)}"
            )
    return list(read)


_FIELDS: dict[str, Reader] = {
    "messages": _texts,
    "prompt": text,
    "chosen": text,
    "rejected": text,
    "completion": text,
    "label": flag,
    "user": text,
    "model": text,
}


def _asked(record, is_chat):
    """A prompt as the page gets it."""
    if isinstance(record.prompt, str):
        return record.prompt
    if not is_chat:
        raise ValueError(
            f"{record.source}: a model without a chat template takes no messages. Received: a prompt of messages"
        )
    asked = [message_fields(message) for message in record.prompt]
    if asked[-1]["role"] != "user":
        raise ValueError(
            f"{record.source}: a prompt's last message must be the user's. Received: {shown(asked[-1]['role'])}"
        )
    return asked
