"""The HTTP application with OpenAI's interface: routes and metrics around an engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from tfalign.data import FeedbackFile, PromptRecord
from tfalign.serving.choices import Choices
from tfalign.serving.conversations import ConversationEncoder
from tfalign.serving.engine import Engine
from tfalign.serving.feedback import FeedbackDesk
from tfalign.serving.grammars import Grammars
from tfalign.serving.limits import CLIENT_GONE, Gate, read_limited
from tfalign.serving.profiles import PATH as PROFILES
from tfalign.serving.profiles import ProfileDesk, Profiles
from tfalign.serving.requests import (
    Asked,
    RefusedError,
    read_body,
    tokens_to_write,
    unknown_model,
)
from tfalign.serving.settings import Limits
from tfalign.text import Tokenizer, tool_template
from tfalign.tools import format_of

_CHAT = "/v1/chat/completions"
_MODEL = "/v1/models/{name:path}"  # a name may be a directory's


class Server:
    """Routes, limits and metrics around an engine.

    Args:
        engine: Engine; started with the application and stopped with it.
        tokenizer: ``tfalign.text.Tokenizer``.
        name: str, of the model.
        limits: Limits.
        feedback: FeedbackFile that people's feedback is added to; None for none.
        prompts: PromptRecords that the page of feedback shows.
        profiles: Profiles of users, which requests name; None for none.

    Attributes:
        call_format: CallFormat, in which the model calls tools.
        ending: asyncio.Event; set, requests that have not arrived yet are refused.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        name: str,
        limits: Limits = Limits(),  # noqa: B008
        feedback: FeedbackFile | None = None,
        prompts: Sequence[PromptRecord] = (),
        profiles: Profiles | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.name = name
        self.limits = limits
        self.ending = asyncio.Event()
        self.conversations = ConversationEncoder(tokenizer, limits.render_seconds, engine.length)
        self.call_format = format_of(tool_template(tokenizer))
        self.grammars = Grammars(tokenizer, engine.vocab_size, limits.compile_seconds)
        self.registry = CollectorRegistry()
        of = {"registry": self.registry}
        self.requests = Counter(
            "requests", "Requests by route and status", ["route", "status"], **of
        )
        self.prompt_tokens = Counter("prompt_tokens", "Prompt tokens taken", **of)
        self.new_tokens = Counter("new_tokens", "Tokens sampled", **of)
        self.first_token = Histogram("first_token_seconds", "Until a response's first token", **of)
        self.duration = Histogram("response_seconds", "Until a response's last token", **of)
        for gauge, function in (
            (Gauge("running", "Responses being decoded", **of), lambda: engine.num_running),
            (Gauge("waiting", "Requests waiting for a row", **of), lambda: engine.num_waiting),
        ):
            gauge.set_function(function)
        self._profiled = ProfileDesk(self, profiles)
        self._routes = [
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route(_CHAT, self.complete, methods=["POST"]),
            Route("/v1/models", self.models),
            Route(_MODEL, self.model),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            *FeedbackDesk(self, feedback, prompts).routes,
            *self._profiled.routes,
        ]

    def app(self) -> Starlette:
        """The ASGI application."""

        @contextlib.asynccontextmanager
        async def lifespan(app):
            await asyncio.gather(asyncio.to_thread(self.engine.start), self.conversations.start())
            try:
                yield
            finally:
                await asyncio.to_thread(self.engine.stop)
                await self.conversations.stop()
                await self.grammars.stop()

        async def refuse(request, error):
            return self.refuse(request.scope, error)

        return Starlette(
            lifespan=lifespan,
            routes=self._routes,
            exception_handlers={RefusedError: refuse, HTTPException: refuse},
            middleware=[Middleware(Gate, limits=self.limits, refuse=self.refuse)],
        )

    async def complete(self, request: Request) -> JSONResponse | StreamingResponse:
        """A completion or an answer, whole or as server-sent events."""
        body = await read_limited(request, self.limits, self.ending)
        is_chat = request.url.path == _CHAT
        asked = read_body(body, is_chat, self.name, self.engine.vocab_size)
        asked = await self._profiled(asked)
        prompts, max_tokens = [], []
        for prompt in asked.prompts:
            token_ids, count = await self._token_ids(prompt, asked)
            prompts.append(token_ids)
            max_tokens.append(tokens_to_write(asked, count, self.engine.length))
        grammar = None if asked.form is None else await self.grammars.of(asked.form)
        choices = Choices(self, asked, prompts, max_tokens, grammar)
        if asked.stream:
            self.count(request.scope, 200)
            return StreamingResponse(choices.events(), media_type="text/event-stream")
        content = await choices.whole(request)
        self.count(request.scope, 200)
        return JSONResponse(content)

    async def _token_ids(self, prompt, asked: Asked):
        """(list of int, a prompt's ids; int, how many)."""
        if asked.is_chat:
            token_ids, count = await self.conversations.encode(prompt, asked.tools)
        else:
            token_ids = prompt
            if isinstance(token_ids, str):
                encoded = await asyncio.to_thread(self.tokenizer.encode, prompt)
                token_ids = [*self.tokenizer.head_ids, *encoded]
            count = len(token_ids)
        if not count:
            raise RefusedError(400, "The prompt is empty.")
        return token_ids, count

    async def models(self, request: Request) -> JSONResponse:
        """What is served, as OpenAI lists it."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> JSONResponse:
        """A model by its name."""
        name = request.path_params["name"]
        if name != self.name:
            raise unknown_model(name, self.name)
        return JSONResponse(self._model())

    def _model(self):
        return {"id": self.name, "object": "model", "owned_by": "tfalign"}

    async def health(self, request: Request) -> JSONResponse:
        """200, or 503 when the engine has failed."""
        if self.engine.failure is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": f"failed: {self.engine.failure}"}, 503)

    async def metrics(self, request: Request) -> PlainTextResponse:
        """Prometheus' text."""
        return PlainTextResponse(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def refuse(self, scope: Mapping[str, Any], error: RefusedError) -> JSONResponse:
        """The response that says why there is none."""
        status, headers = (
            error.status_code if isinstance(error, HTTPException) else error.status,
            {},
        )
        message = error.detail if isinstance(error, HTTPException) else str(error)
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if status == 503:
            headers["Retry-After"] = "1"
        if status in (408, 413, CLIENT_GONE) or scope["method"] == "POST":
            headers["Connection"] = "close"  # the rest of a body is not waited for
        headers |= getattr(error, "headers", None) or {}
        self.count(scope, status)
        content = {
            "message": message.encode("utf-8", "backslashreplace").decode(),
            "type": getattr(error, "kind", "invalid_request_error"),
            "code": getattr(error, "code", None),
        }
        return JSONResponse({"error": content}, status, headers)

    def count(self, scope: Mapping[str, Any], status: int) -> None:
        """Counts a request."""
        known = {route.path for route in self._routes}
        path = scope["path"] if scope["path"] in known else "unknown"
        named = scope.get("path_params", {})  # a user's name is in no metric
        path = _MODEL if "name" in named else PROFILES if named else path
        self.requests.labels(path, status).inc()
