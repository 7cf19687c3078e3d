"""What a request is answered with: of each of its prompts so many responses, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import starlette.requests

from tfalign.serving.calls import message_delta
from tfalign.serving.grammar import Grammar
from tfalign.serving.limits import CLIENT_GONE
from tfalign.serving.requests import Asked, RefusedError
from tfalign.serving.responses import FAILED, GONE, Response

_LINE_ENDS = "\x85\u2028\u2029"
_STOPPED = "The engine has stopped."


class Choices:
    """The responses to one request, decoded beside each other.

    Each is sampled from a seed of its own: the request's, or one of the server's, plus its index.

    Args:
        server: ``app.Server``.
        asked: Asked.
        prompts: token ids of each prompt.
        max_tokens: int, of a response to each prompt.
        grammar: what the responses may be; None for anything.

    Raises:
        RefusedError: as ``Response``; then none of them is decoded.
    """

    def __init__(
        self,
        server: Any,
        asked: Asked,
        prompts: Sequence[list[int]],
        max_tokens: Sequence[int],
        grammar: Grammar | None = None,
    ) -> None:
        self._server = server
        self._asked = asked
        self._id = f"{'chatcmpl' if asked.is_chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._num_prompt_tokens = sum(map(len, prompts))
        seed = uuid.uuid4().int if asked.seed is None else asked.seed
        self._responses: list[Response] = []
        try:
            for prompt, most in zip(prompts, max_tokens):
                for _ in range(asked.n):
                    own = (seed + len(self._responses)) % 2**32
                    response = Response(server, asked, prompt, most, own, grammar)
                    self._responses.append(response)
        except RefusedError:
            for response in self._responses:
                response.cancel()
            raise

    async def whole(self, request: starlette.requests.Request) -> dict[str, Any]:
        """All of them as one object; a client that has gone is not decoded for.

        Raises:
            RefusedError: 499 if the client has gone, 503 if the engine has stopped.
        """
        watching = asyncio.create_task(self._watch(request))
        try:
            texts = await asyncio.gather(*map(_text_of, self._responses))
        finally:
            watching.cancel()
        reasons = {reason for _, reason in texts}
        if GONE in reasons:
            raise RefusedError(CLIENT_GONE, "The client has gone.")
        if FAILED in reasons:
            raise RefusedError(503, _STOPPED, "server_error")
        said = [response.said(*text) for response, text in zip(self._responses, texts)]
        choices = [self._choice(index, *part, False) for index, part in enumerate(said)]
        return self._content(choices, False) | {"usage": self._usage()}

    async def events(self) -> AsyncIterator[str]:
        """All of them as server-sent events, each one's pieces in order and marked with its index. Where they may call
        tools, all that one says is in one event."""
        pieces: asyncio.Queue = asyncio.Queue()
        telling = [
            asyncio.create_task(self._tell(index, response, pieces))
            for index, response in enumerate(self._responses)
        ]
        try:
            if self._asked.is_chat:
                begun = {"role": "assistant", "content": ""}
                for index in range(len(telling)):
                    yield self._event([self._choice(index, begun, None, True)])
            ended = 0
            while ended < len(telling):
                index, text, reason = await pieces.get()
                if reason == FAILED:
                    failed = {"message": _STOPPED, "type": "server_error"}
                    yield server_sent_event({"error": failed})
                    return
                part, reason = self._responses[index].said(text, reason)
                part = message_delta(part) if self._asked.is_chat else part
                yield self._event([self._choice(index, part, reason, True)])
                ended += reason is not None
            if self._asked.include_usage:
                yield server_sent_event(self._content([], True) | {"usage": self._usage()})
            yield "data: [DONE]\n\n"
        finally:
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)

    async def _tell(self, index, response, pieces):
        texts = response.whole_text() if self._asked.may_call else response.pieces()
        async with contextlib.aclosing(texts) as texts:
            async for text, reason in texts:
                pieces.put_nowait((index, text, reason))

    async def _watch(self, request):
        while not await request.is_disconnected():
            await asyncio.sleep(0.5)
        for response in self._responses:
            response.leave()

    def _usage(self):
        written = sum(response.num_tokens for response in self._responses)
        return {
            "prompt_tokens": self._num_prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self._num_prompt_tokens + written,
        }

    def _choice(self, index, part, reason, is_part):
        key = ("delta" if is_part else "message") if self._asked.is_chat else "text"
        return {"index": index, key: part, "finish_reason": reason}

    def _content(self, choices, is_part):
        is_chat = self._asked.is_chat
        kind = "chat.completion" if is_chat else "text_completion"
        content = {
            "id": self._id,
            "object": kind + ".chunk" if is_chat and is_part else kind,
            "created": self._created,
            "model": self._server.name,
            "choices": choices,
        }
        if is_part and self._asked.include_usage:
            content["usage"] = None  # that of the whole is in the last one
        return content

    def _event(self, choices):
        return server_sent_event(self._content(choices, True))


async def _text_of(response):
    """(all that a response says, why it ends)."""
    async with contextlib.aclosing(response.whole_text()) as texts:
        return await anext(texts)


def server_sent_event(content: dict[str, Any]) -> str:
    """A JSON object as one event."""
    text = json.dumps(content, ensure_ascii=False)
    for end in _LINE_ENDS:  # no line's end for this format, but for many who read it
        text = text.replace(end, f"\\u{ord(end):04x}")
    return f"data: {text}\n\n"
