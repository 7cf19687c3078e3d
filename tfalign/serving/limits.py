"""Who may ask, and how much: the key, where a request comes from, and the bounds of its body.

A page that a browser shows can send requests to any server the browser reaches, this one too. Such a
request names the page's site in ``Origin`` (RFC 6454), or, where the page's site has had its name
pointed at this machine, in ``Host``. Both are refused, and no answer says that a page may read it (no
CORS headers). A body must be called JSON, which a page may not do without asking first.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import math
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tfalign.serving.checks import shown
from tfalign.serving.requests import RefusedError
from tfalign.serving.settings import Limits

_OPEN_TO_ALL = ("/health", "/label")  # the page asks for the key itself
CLIENT_GONE = 499  # nobody reads it; nginx's name in the metrics


class Gate:
    """ASGI middleware that refuses who may not ask.

    Args:
        app: the application behind it.
        limits: Limits.
        refuse: ``(scope, RefusedError) -> response``.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, refuse: Callable[[Scope, RefusedError], Response]
    ) -> None:
        self.app = app
        self.limits = limits
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.app
        if scope["type"] == "http":
            try:
                self.check(scope["method"], scope["path"], Headers(scope=scope))
            except RefusedError as error:
                answer = self.refuse(scope, error)
        await answer(scope, receive, send)

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raises a RefusedError: 400, 401, 403 or 415."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1:
            raise RefusedError(400, "A request must have one Host.")
        if not is_allowed_host(hosts[0], self.limits.hosts):
            raise RefusedError(
                403,
                f"This server is not called {shown(hosts[0])}; --allowed_hosts says what it is called.",
            )
        for origin in origins:
            if not _is_same_site(origin, hosts[0]):
                raise RefusedError(403, f"Pages of {shown(origin)} may not use this server.")
        if self.limits.key and path not in _OPEN_TO_ALL:
            self._check_key(headers.getlist("authorization"))
        if method == "POST" and not _is_json(headers.getlist("content-type")):
            raise RefusedError(415, "A request's Content-Type must be application/json.")

    def _check_key(self, given):
        scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        expected = self.limits.key.encode()
        # compared in any case, in a time that does not depend on where they differ
        is_right = hmac.compare_digest(key.strip().encode("utf-8", "replace"), expected)
        if not is_right or scheme.lower() != "bearer":
            raise RefusedError(
                401,
                "The server's key is missing or wrong; it comes as 'Authorization: Bearer KEY'.",
                code="invalid_api_key",
            )


def is_allowed_host(host: str, allowed: Collection[str]) -> bool:
    """Whether a Host header is one of this server's, and not a foreign name pointed at it.

    >>> [is_allowed_host(host, ()) for host in ("127.0.0.1:8000", "[::1]", "box", "evil.example")]
    [True, True, True, False]
    """
    if "*" in allowed:
        return True
    try:
        parts = urlsplit(f"//{host}")
        name, _ = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        return False
    if not name or parts.netloc != host or "@" in host:
        return False
    if name in allowed:
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return "." not in name or name.endswith(".localhost")


def _is_same_site(origin, host):
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _is_json(given):
    kind, _, parameters = given[0].partition(";") if len(given) == 1 else ("", "", "")
    parameters = parameters.replace(" ", "").replace('"', "").lower()
    return kind.strip().lower() == "application/json" and parameters in ("", "charset=utf-8")


async def read_limited(request: Request, limits: Limits, ending: asyncio.Event) -> bytes:
    """A request's body.

    Args:
        request: Starlette's.
        limits: Limits.
        ending: set when the server is told to end.

    Raises:
        RefusedError: 413 if it is too large, 408 if it is too slow, 503 if the server ends, 499 if the
            client goes.
    """
    reading = asyncio.ensure_future(_read(request, limits.most_bytes))
    stopping = asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait(
            {reading, stopping},
            timeout=limits.body_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if reading.done():
            return reading.result()
        if stopping.done():
            raise RefusedError(503, "The server is ending.", "server_error")
        seconds = math.ceil(limits.body_seconds)
        raise RefusedError(408, f"The body has not arrived within {seconds} seconds.")
    except ClientDisconnect:
        raise RefusedError(CLIENT_GONE, "The client has gone.") from None
    finally:
        reading.cancel()
        stopping.cancel()


async def _read(request, most_bytes):
    too_large = RefusedError(413, f"A request may have {most_bytes} bytes.")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > most_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise too_large
    return bytes(body)
