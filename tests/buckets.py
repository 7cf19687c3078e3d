"""A local S3 server, and a wire to it that breaks."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

BUCKET = "s3://bucket"


def free_port():
    with socket.socket() as held:
        held.bind(("localhost", 0))
        return held.getsockname()[1]


@contextlib.contextmanager
def server():
    """moto in a process of its own, with an empty bucket; yields its port."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    pytest.importorskip("flask_cors")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    try:
        make = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(make):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def environment(port):
    """What a process needs that shall find the server at a port."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextlib.contextmanager
def reached(port):
    """Within it this process and those that it starts find the server there."""
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(port).items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()


class Wire(threading.Thread):
    """Passes connections on to a server, but for those whose number, from 1 on, ``breaks`` says: of them it passes so
    many bytes of the answer and hangs up.

    Attributes:
        port: int, where it listens.
        connections: int, so far.
    """

    def __init__(self, server_port, breaks=lambda number: None):
        super().__init__(daemon=True)
        self._server, self.breaks, self.connections = server_port, breaks, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                limit = self.breaks(self.connections)
                threading.Thread(target=self._pass_on, args=(client, limit), daemon=True).start()

    def _pass_on(self, client, limit):
        with client, socket.create_connection(("127.0.0.1", self._server)) as other:
            back = threading.Thread(target=_copy, args=(other, client, limit), daemon=True)
            if limit != 0:
                back.start()
                _copy(client, other, None)
                back.join()

    def close(self):
        self._listening.close()


def _copy(source, target, limit):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            if limit is not None:
                data, limit = data[:limit], limit - len(data)
            target.sendall(data)
            if limit is not None and limit <= 0:
                break
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def environ_with(port):
    """This process' environment with the server's place in it."""
    return os.environ | environment(port)
