"""A response on its way from the engine to a client: whole, or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import starlette.requests

from tfalign.serving.calls import assistant_message, message_delta
from tfalign.serving.engine import QueueFullError, Request
from tfalign.serving.grammar import Grammar
from tfalign.serving.limits import CLIENT_GONE
from tfalign.serving.requests import Asked, RefusedError
from tfalign.serving.texts import StoppedText

_GONE, _FAILED = "gone", "error"
_LINE_ENDS = "\x85\u2028\u2029"
_STOPPED = "The engine has stopped."


class Response:
    """One response.

    Args:
        server: ``app.Server``.
        asked: Asked.
        token_ids: list of int, the prompt's.
        max_tokens: int.
        grammar: what the response may be; None for anything.

    Raises:
        RefusedError: if it cannot be that in so many tokens, too many requests wait, or the engine has failed.
    """

    def __init__(
        self,
        server: Any,
        asked: Asked,
        token_ids: list[int],
        max_tokens: int,
        grammar: Grammar | None = None,
    ) -> None:
        self.server = server
        self.asked = asked
        self.id = f"{'chatcmpl' if asked.is_chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.num_prompt_tokens = len(token_ids)
        self.num_tokens = 0
        self._text = StoppedText(server.tokenizer, asked.stops)
        self._start = time.perf_counter()
        loop, self._tokens = asyncio.get_running_loop(), asyncio.Queue()

        def deliver(token, reason):
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(self._tokens.put_nowait, (token, reason))

        self._request = Request(
            token_ids,
            max_tokens,
            deliver,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            min_p=asked.min_p,
            seed=uuid.uuid4().int % 2**32 if asked.seed is None else asked.seed,
            stop_tokens=asked.stop_tokens,
            logit_bias=asked.logit_bias,
            grammar=grammar,
        )
        try:
            server.engine.submit(self._request)
        except QueueFullError:
            raise RefusedError(503, "Too many requests wait; try again.", "overloaded") from None
        except RuntimeError as error:
            raise RefusedError(503, str(error), "server_error") from None
        except (
            ValueError
        ) as error:  # the tokenizer has ids that the model has not, or too few tokens are left
            raise RefusedError(400, str(error)) from None
        server.prompt_tokens.inc(len(token_ids))

    async def pieces(self) -> AsyncIterator[tuple[str, str | None]]:
        """(text, reason) pairs; the reason of the last is not None."""
        try:
            reason = None
            while reason is None:
                token, reason = await self._tokens.get()
                if token is None:
                    yield "", reason
                    return
                self._count_token()
                text = "" if reason == "stop" else self._text.push(token)
                if reason is not None:
                    text += self._text.flush()
                if self._text.is_stopped:
                    reason = "stop"
                if text or reason is not None:
                    yield text, reason
            self.server.duration.observe(time.perf_counter() - self._start)
        finally:
            self.server.engine.cancel(self._request)

    async def whole_text(self) -> AsyncIterator[tuple[str, str | None]]:
        """As ``pieces``, all of the text in one: whether it makes calls is known at its end."""
        parts, reason = [], None
        async with contextlib.aclosing(self.pieces()) as pieces:
            async for text, last in pieces:
                parts.append(text)
                reason = last
        yield "".join(parts), reason

    async def events(self) -> AsyncIterator[str]:
        """The response as server-sent events; where it may call tools, all that it says is in one."""
        if self.asked.is_chat:
            yield self._event(self._content({"role": "assistant", "content": ""}, None, True))
        texts = self.whole_text() if self.asked.may_call else self.pieces()
        async with contextlib.aclosing(texts) as pieces:
            async for text, reason in pieces:
                if reason == _FAILED:
                    failed = {"message": _STOPPED, "type": "server_error"}
                    yield self._event({"error": failed})
                    return
                part, reason = self._said(text, reason)
                part = message_delta(part) if self.asked.is_chat else part
                yield self._event(self._content(part, reason, True))
        if self.asked.include_usage:
            content = self._content(None, None, True)
            yield self._event(content | {"choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    async def whole(self, request: starlette.requests.Request) -> dict[str, Any]:
        """The response as one object; a client that has gone is not decoded for.

        Raises:
            RefusedError: 499 if the client has gone, 503 if the engine has stopped.
        """
        watching = asyncio.create_task(self._watch(request))
        try:
            async with contextlib.aclosing(self.whole_text()) as texts:
                text, reason = await anext(texts)
        finally:
            watching.cancel()
        if reason == _GONE:
            raise RefusedError(CLIENT_GONE, "The client has gone.")
        if reason == _FAILED:
            raise RefusedError(503, _STOPPED, "server_error")
        part, reason = self._said(text, reason)
        return self._content(part, reason, False) | {"usage": self._usage()}

    def _said(self, text, reason):
        """(the text, or the assistant's message that it is; why it ends)."""
        if not self.asked.is_chat:
            return text, reason
        if not self.asked.may_call:
            return {"role": "assistant", "content": text}, reason
        names = {tool["function"]["name"] for tool in self.asked.tools}
        message = assistant_message(text, self.server.call_format, names)
        is_call = "tool_calls" in message and reason == "stop"
        return message, "tool_calls" if is_call else reason

    async def _watch(self, request):
        while not await request.is_disconnected():
            await asyncio.sleep(0.5)
        self._tokens.put_nowait((None, _GONE))

    def _count_token(self):
        if not self.num_tokens:
            self.server.first_token.observe(time.perf_counter() - self._start)
        self.num_tokens += 1
        self.server.new_tokens.inc()

    def _usage(self):
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": self.num_tokens,
            "total_tokens": self.num_prompt_tokens + self.num_tokens,
        }

    def _content(self, part, reason, is_part):
        is_chat = self.asked.is_chat
        kind = "chat.completion" if is_chat else "text_completion"
        key = ("delta" if is_part else "message") if is_chat else "text"
        content = {
            "id": self.id,
            "object": kind + ".chunk" if is_chat and is_part else kind,
            "created": self.created,
            "model": self.server.name,
            "choices": [{"index": 0, key: part, "finish_reason": reason}],
        }
        if is_part and self.asked.include_usage:
            content["usage"] = None  # that of the whole is in the last one
        return content

    def _event(self, content):
        text = json.dumps(content, ensure_ascii=False)
        for end in _LINE_ENDS:  # no line's end for this format, but for many who read it
            text = text.replace(end, f"\\u{ord(end):04x}")
        return f"data: {text}\n\n"
