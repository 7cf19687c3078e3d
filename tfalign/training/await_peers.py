"""Ends a process whose peers do not answer: python -m tfalign.training.await_peers PID SECONDS HOST:PORT ...

Every worker opens its port while it makes its strategy, and then waits for the others without an end, in
a call that lets no other Python thread of the process run: only another process can look after it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence


def await_peers(peers: Sequence[str], seconds: float) -> str | None:
    """The first peer that does not answer within so many seconds; None if all do."""
    until = time.monotonic() + seconds
    for peer in peers:
        while not answers(peer):
            if time.monotonic() > until:
                return peer
            time.sleep(0.5)
    return None


def answers(address: str) -> bool:
    """Whether anybody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def main(process: str, seconds: str, *peers: str) -> None:
    silent = await_peers(peers, float(seconds))
    if silent is not None:
        print(
            f"error: the worker at {silent} has not answered for {seconds} seconds", file=sys.stderr
        )
        os.kill(int(process), signal.SIGKILL)  # TensorFlow catches SIGTERM and goes on waiting


if __name__ == "__main__":
    main(*sys.argv[1:])
