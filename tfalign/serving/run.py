"""The application on a port, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tfalign.serving.app import Server

_CLOSING_SECONDS = 2.0  # for the last events to be sent once responses have been cut off
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, not yet listening.

    Raises:
        ValueError: if it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        raise ValueError(f"The server cannot have port {port} of {host!r}: {error}.") from None
    return listener


def run(server: Server, listener: socket.socket) -> int:
    """Serves until SIGTERM or SIGINT.

    Then no more connections are taken, requests that have not arrived are refused, and responses have
    ``limits.drain_seconds`` to end; who is not done is told so. A second signal ends them at once.

    Args:
        server: Server.
        listener: of ``bind``; closed at the end.

    Returns:
        int, 128 plus the signal's number (143 after SIGTERM, 130 after SIGINT), for ``sys.exit``; 0
        without one.
    """
    config = uvicorn.Config(
        server.app(),
        http=_bounded_protocol(server.limits.body_seconds),
        ws="none",
        log_level="error",
        timeout_graceful_shutdown=None,
    )
    process = _Process(config, server)
    process.run([listener])
    return 128 + process.received if process.received else 0


class _Process(uvicorn.Server):
    """uvicorn's server, ended as ``run`` says."""

    def __init__(self, config, server):
        super().__init__(config)
        self.received = 0
        self._server = server
        self._at_once = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self):
        """Handles the signals here; uvicorn's own would raise them again at the end."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig, frame):
        """Takes a signal."""
        if self.received:
            self._at_once.set()
        self.received = self.received or int(sig)
        self.should_exit = True

    async def startup(self, sockets=None):
        """Says where it listens, once it does."""
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            print(f"Listening at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    async def shutdown(self, sockets=None):
        """Ends."""
        self._server.ending.set()
        draining = asyncio.create_task(self._drain())
        await super().shutdown(sockets)
        draining.cancel()

    async def _drain(self):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._at_once.wait(), self._server.limits.drain_seconds)
        await asyncio.to_thread(self._server.engine.stop)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._at_once.wait(), _CLOSING_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _bounded_protocol(seconds):
    """uvicorn's protocol, with a bound for the head of a request, which uvicorn waits for for ever."""

    class Bounded(H11Protocol):
        _timer = None

        def connection_made(self, transport):
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self._end)

        def data_received(self, data):
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self._end)

        def connection_lost(self, exc):
            self._stop_timer()
            super().connection_lost(exc)

        def _stop_timer(self):
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _end(self):
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                if self.conn.trailing_data[0]:  # one that sent nothing asked for nothing
                    self.transport.write(_TOO_SLOW)
                self.transport.close()

    return Bounded
