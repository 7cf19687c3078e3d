"""An HTTP server with OpenAI's interface, for one model: completions and chat, streamed or whole.

    pip install tfalign[serve]
    python -m experiments.serve --model=runs/demo/models/ppo --port=8000
    curl localhost:8000/v1/completions -d '{"prompt": "Customer: Where is my order 147?\\nAgent:", "max_tokens": 40}'

POST /v1/completions, /v1/chat/completions (with a chat template in the model's directory); GET /v1/models,
/health, /metrics (Prometheus). Requests are decoded together (``tfalign.serving.engine``): --rows at once,
--most_waiting more wait, and who comes after them gets a 503. What is malformed or too large gets a 4xx with
a sentence. Beside OpenAI's fields "seed" makes a response repeatable. A client that goes away frees its
row. The server keeps no state: killed and started again it is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
import uuid

from experiments.launch import launch
from tfalign.models import from_pretrained
from tfalign.models.lora import quantize
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer
from tfalign.serving.engine import Engine, QueueFullError, Request
from tfalign.serving.texts import StoppedText
from tfalign.text import Message, encode_conversation

_MOST_STOPS, _DEFAULT_TOKENS = 4, 16  # as OpenAI has them


@option_record
class ServeConfig:
    model: str = option("runs/demo/models/ppo", "directory of the model")
    name: str = option("", "what the model is called; the directory's name where empty")
    host: str = option("127.0.0.1", "address to listen at")
    port: int = option(8000, "port to listen at", at_least=0, at_most=65535)
    rows: int = option(32, "responses decoded at once", at_least=1)
    length: int = option(
        0, "tokens of a prompt with its response at most; 0 for all the model has", at_least=0
    )
    most_waiting: int = option(500, "requests that may wait for a row", at_least=0)
    most_bytes: int = option(200_000, "of a request's body", at_least=1)
    int8: bool = option(False, "hold the kernels in 8 bits")


class RefusedError(Exception):
    """A request that is answered with an error: the status and a sentence."""

    def __init__(self, status, message, kind="invalid_request_error"):
        super().__init__(message)
        self.status = status
        self.kind = kind


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a request's body asks for, checked."""

    token_ids: list[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stops: tuple[str, ...]
    stream: bool


def read_body(body, chat, tokenizer, length, fresh_seed):
    """The request in a body.

    Args:
        body: bytes.
        chat: bool, whether it has messages instead of a prompt.
        tokenizer: ``tfalign.text.Tokenizer``.
        length: int, tokens of a prompt with its response at most.
        fresh_seed: int, where the body names none.

    Returns:
        Asked.

    Raises:
        RefusedError: saying what is wrong with it.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise RefusedError(400, "The body must be a JSON object.")
    for name, only in (
        ("n", 1),
        ("best_of", 1),
        ("echo", False),
        ("logprobs", None),
        ("tools", None),
    ):
        if fields.get(name, only) not in (only, None, False):
            raise RefusedError(400, f"{name} is not supported. Received: {name}={fields[name]!r}")
    token_ids = _prompt_ids(fields, chat, tokenizer)
    asked = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
    room = length - len(token_ids)
    default = max(room, 1) if chat else min(_DEFAULT_TOKENS, max(room, 1))
    max_tokens = _number(fields, asked, default, 1, None, whole=True)
    if max_tokens > room:
        raise RefusedError(
            400,
            f"The model takes {length} tokens. Received: a prompt of {len(token_ids)} and"
            f" {asked}={max_tokens}",
            "context_length_exceeded",
        )
    stops = fields.get("stop") or ()
    stops = (stops,) if isinstance(stops, str) else stops
    if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) for stop in stops):
        raise RefusedError(400, "stop must be a string or a list of strings.")
    if len(stops) > _MOST_STOPS:
        raise RefusedError(400, f"stop may have {_MOST_STOPS} strings. Received: {len(stops)}")
    stream = fields.get("stream") or False
    if not isinstance(stream, bool):
        raise RefusedError(400, f"stream must be true or false. Received: {stream!r}")
    return Asked(
        token_ids=token_ids,
        max_tokens=max_tokens,
        temperature=_number(fields, "temperature", 1.0, 0, 10),
        top_p=_number(fields, "top_p", 1.0, 1e-6, 1),
        seed=_number(fields, "seed", fresh_seed, 0, 2**32 - 1, whole=True),
        stops=tuple(stops),
        stream=stream,
    )


def _prompt_ids(fields, chat, tokenizer):
    try:
        if chat:
            return encode_conversation(tokenizer, _messages(fields), open_ended=True).token_ids
        prompt = fields.get("prompt")
        if isinstance(prompt, str):
            ids = [*tokenizer.head_ids, *tokenizer.encode(prompt)]
        elif isinstance(prompt, list) and all(type(i) is int for i in prompt):
            ids = prompt
            if not all(0 <= token_id < tokenizer.vocab_size for token_id in ids):
                raise ValueError(f"A token's id must be in [0, {tokenizer.vocab_size}).")
        else:
            raise ValueError("prompt must be a string or a list of token ids.")
        if not ids:
            raise ValueError("The prompt is empty.")
        return ids
    except ValueError as error:
        raise RefusedError(400, str(error)) from None


def _messages(fields):
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list of messages.")
    for message in messages:
        texts = (
            [message.get(key) for key in ("role", "content")] if isinstance(message, dict) else []
        )
        if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
            raise ValueError("A message must have role and content, both strings.")
    return tuple(Message(message["role"], message["content"]) for message in messages)


def _number(fields, name, default, least, most, whole=False):
    value = fields.get(name)
    if value is None:
        return default
    kinds = (int,) if whole else (int, float)
    fits = type(value) in kinds and value >= least and (most is None or value <= most)
    if not fits:
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        kind = "a whole number" if whole else "a number"
        raise RefusedError(400, f"{name} must be {kind} {limits}. Received: {name}={value!r}")
    return value


class Server:
    """The application: routes, limits and metrics around an engine.

    Args:
        engine: Engine; started with the application and stopped with it.
        tokenizer: ``tfalign.text.Tokenizer``.
        name: str, of the model.
        most_bytes: int, of a request's body.
    """

    def __init__(self, engine, tokenizer, name, most_bytes):
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.engine = engine
        self.tokenizer = tokenizer
        self.name = name
        self.most_bytes = most_bytes
        self.registry = CollectorRegistry()
        of = {"registry": self.registry}
        self.requests = Counter(
            "requests", "Requests by route and status", ["route", "status"], **of
        )
        self.prompt_tokens = Counter("prompt_tokens", "Tokens of prompts taken", **of)
        self.new_tokens = Counter("new_tokens", "Tokens drawn", **of)
        self.first_token = Histogram("first_token_seconds", "Until a response's first token", **of)
        self.duration = Histogram("response_seconds", "Until a response's last token", **of)
        for gauge, function in (
            (Gauge("running", "Responses being decoded", **of), lambda: engine.num_running),
            (Gauge("waiting", "Requests waiting for a row", **of), lambda: engine.num_waiting),
        ):
            gauge.set_function(function)

    def app(self):
        """The Starlette application."""
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route

        @contextlib.asynccontextmanager
        async def lifespan(app):
            await asyncio.to_thread(self.engine.start)
            yield
            await asyncio.to_thread(self.engine.stop)

        return Starlette(
            lifespan=lifespan,
            routes=[
                Route("/v1/completions", self.complete, methods=["POST"]),
                Route("/v1/chat/completions", self.complete, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={RefusedError: self.refuse, HTTPException: self.refuse},
        )

    async def complete(self, request):
        """A completion or an answer, whole or as server-sent events."""
        from starlette.responses import JSONResponse, StreamingResponse

        chat = request.url.path.endswith("/chat/completions")
        body = await self._body(request)
        fresh_seed = uuid.uuid4().int % 2**32
        asked = read_body(body, chat, self.tokenizer, self.engine.length, fresh_seed)
        response = Response(self, asked, chat)
        if asked.stream:
            self._count(request, 200)
            return StreamingResponse(response.events(), media_type="text/event-stream")
        content = await response.whole(request)
        self._count(request, 200)
        return JSONResponse(content)

    async def models(self, request):
        from starlette.responses import JSONResponse

        model = {"id": self.name, "object": "model", "owned_by": "tfalign"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(self, request):
        from starlette.responses import JSONResponse

        if self.engine.failure is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": f"failed: {self.engine.failure}"}, 503)

    async def metrics(self, request):
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
        from starlette.responses import Response as PlainResponse

        return PlainResponse(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    async def refuse(self, request, error):
        from starlette.responses import JSONResponse

        status = error.status if isinstance(error, RefusedError) else error.status_code
        kind = getattr(error, "kind", "invalid_request_error")
        self._count(request, status)
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse({"error": {"message": str(error), "type": kind}}, status, headers)

    async def _body(self, request):
        """bytes, never more than the limit."""
        too_large = RefusedError(413, f"A request may have {self.most_bytes} bytes.")
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self.most_bytes:
            raise too_large
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.most_bytes:
                raise too_large
        return body

    def _count(self, request, status):
        known = request.url.path if request.scope.get("endpoint") else "unknown"
        self.requests.labels(known, status).inc()


class Response:
    """One response on its way from the engine to a client.

    Args:
        server: Server.
        asked: Asked.
        chat: bool.

    Raises:
        RefusedError: if too many requests wait, or the engine has failed.
    """

    def __init__(self, server, asked, chat):
        self.server = server
        self.asked = asked
        self.chat = chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.num_tokens = 0
        self._text = StoppedText(server.tokenizer, asked.stops)
        self._start = time.perf_counter()
        loop, self._tokens = asyncio.get_running_loop(), asyncio.Queue()

        def deliver(token, reason):
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(self._tokens.put_nowait, (token, reason))

        self._request = Request(
            asked.token_ids, asked.max_tokens, deliver, asked.temperature, asked.top_p, asked.seed
        )
        try:
            server.engine.submit(self._request)
        except QueueFullError:
            raise RefusedError(503, "Too many requests wait; try again.", "overloaded") from None
        except RuntimeError as error:
            raise RefusedError(503, str(error), "server_error") from None
        server.prompt_tokens.inc(len(asked.token_ids))

    async def pieces(self):
        """(text, reason) pairs; the reason of the last is not None."""
        try:
            reason = None
            while reason is None:
                token, reason = await self._tokens.get()
                if token is None:
                    yield "", reason
                    return
                self._count_token()
                text = "" if token in self.server.engine.stop_tokens else self._text.push(token)
                if reason is not None:
                    text += self._text.flush()
                if self._text.is_stopped:
                    reason = "stop"
                if text or reason is not None:
                    yield text, reason
            self.server.duration.observe(time.perf_counter() - self._start)
        finally:
            self.server.engine.cancel(self._request)

    async def events(self):
        """The response as server-sent events."""
        if self.chat:
            yield self._event(
                self._content({"role": "assistant", "content": ""}, None, is_part=True)
            )
        async for text, reason in self.pieces():
            if reason == "error":
                failed = {"message": "The engine has stopped.", "type": "server_error"}
                yield self._event({"error": failed})
                return
            part = {"content": text} if self.chat else text
            yield self._event(self._content(part, reason, is_part=True))
        yield "data: [DONE]\n\n"

    async def whole(self, request):
        """The response as one object; a client that has gone is not decoded for."""
        parts, reason = [], None
        gone = asyncio.create_task(self._disconnected(request))
        try:
            async for text, last in self.pieces():
                parts.append(text)
                reason = last
                if gone.done():
                    raise RefusedError(499, "The client has gone.")
        finally:
            gone.cancel()
        if reason == "error":
            raise RefusedError(503, "The engine has stopped.", "server_error")
        text = "".join(parts)
        part = {"role": "assistant", "content": text} if self.chat else text
        prompt = len(self.asked.token_ids)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": self.num_tokens,
            "total_tokens": prompt + self.num_tokens,
        }
        return self._content(part, reason, is_part=False) | {"usage": usage}

    async def _disconnected(self, request):
        while not await request.is_disconnected():
            await asyncio.sleep(0.5)

    def _count_token(self):
        if not self.num_tokens:
            self.server.first_token.observe(time.perf_counter() - self._start)
        self.num_tokens += 1
        self.server.new_tokens.inc()

    def _content(self, part, reason, is_part):
        kind = "chat.completion" if self.chat else "text_completion"
        key = ("delta" if is_part else "message") if self.chat else "text"
        return {
            "id": self.id,
            "object": kind + ".chunk" if self.chat and is_part else kind,
            "created": self.created,
            "model": self.server.name,
            "choices": [{"index": 0, key: part, "finish_reason": reason}],
        }

    def _event(self, content):
        return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def make_server(config):
    """The Server of a config, its engine not started."""
    model = from_pretrained(config.model, dropout=0.0)
    if config.int8:
        quantize(model)
    tokenizer = load_tokenizer(config.model)
    length = config.length or model.config.max_positions
    engine = Engine(model, config.rows, length, tokenizer.stop_ids, config.most_waiting)
    name = config.name or config.model.rstrip("/").rsplit("/", 1)[-1]
    return Server(engine, tokenizer, name, config.most_bytes)


def main(config):
    import uvicorn

    uvicorn.run(make_server(config).app(), host=config.host, port=config.port, log_level="warning")


if __name__ == "__main__":
    launch(ServeConfig, main, __doc__)
