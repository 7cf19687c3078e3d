"""A response on its way from the engine: its text, piece by piece."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from tfalign.serving.calls import assistant_message
from tfalign.serving.engine import QueueFullError, Request
from tfalign.serving.grammar import Grammar
from tfalign.serving.requests import Asked, RefusedError
from tfalign.serving.texts import StoppedText

GONE, FAILED = "gone", "error"  # why a response ends without having ended


class Response:
    """One response.

    Args:
        server: ``app.Server``.
        asked: Asked.
        token_ids: list of int, the prompt's.
        max_tokens: int.
        seed: int.
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
        seed: int,
        grammar: Grammar | None = None,
    ) -> None:
        self.server = server
        self.asked = asked
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
            seed=seed,
            stop_tokens=asked.stop_tokens,
            logit_bias=asked.logit_bias,
            penalties=asked.penalties,
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

    def said(self, text: str, reason: str | None) -> tuple[str | dict[str, Any], str | None]:
        """(the text, or the assistant's message that it is; why it ends), of all of it or of a piece."""
        if not self.asked.is_chat:
            return text, reason
        if not self.asked.may_call:
            return {"role": "assistant", "content": text}, reason
        names = {tool["function"]["name"] for tool in self.asked.tools}
        message = assistant_message(text, self.server.call_format, names)
        is_call = "tool_calls" in message and reason == "stop"
        return message, "tool_calls" if is_call else reason

    def leave(self) -> None:
        """The client has gone: nothing more is decoded."""
        self._tokens.put_nowait((None, GONE))

    def cancel(self) -> None:
        """Nobody has asked for the pieces, and nobody will."""
        self.server.engine.cancel(self._request)

    def _count_token(self):
        if not self.num_tokens:
            self.server.first_token.observe(time.perf_counter() - self._start)
        self.num_tokens += 1
        self.server.new_tokens.inc()
