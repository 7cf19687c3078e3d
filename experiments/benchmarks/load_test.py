"""Tests the HTTP server with many clients at once, with half-sent requests, SIGTERM and a kill.

    python -m experiments.benchmarks.load_test --model=runs/demo/models/ppo --clients=250 --half_sent=400

Starts ``experiments.serve`` and opens --clients streams at the same time; every response must end, and be the
same as when it is requested alone. Then --half_sent connections send half a body and wait, while --clients
others send whole requests: these must get responses, the half-sent ones a 408. SIGTERM during as many streams:
they must end, and the server with status 143. Last, the server is killed during streams, started again and
asked once more. Prints statuses, times and tokens per second.

Result: 200 of 200 streams ended in 12.5 s, with the same texts as alone and after the kill
(docs/results/load_test.md).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import signal
import subprocess
import sys
import time

import httpx
import numpy as np

from experiments.launch import launch
from tfalign.options import option, option_record

_BODY_SECONDS, _DRAIN_SECONDS = 5.0, 30.0


@option_record
class LoadTestConfig:
    model: str = option("runs/demo/models/ppo", "Directory of the model.")
    prompt: str = option(
        "Customer: Where is my order {}?\nAgent:", "Prompt; {} is replaced by the client's number."
    )
    clients: int = option(200, "Streams opened at once.", at_least=1)
    half_sent: int = option(100, "Connections that send half a request body.", at_least=0)
    max_tokens: int = option(48, "Maximum response length, tokens.", at_least=1)
    rows: int = option(32, "Responses that the server decodes at once.", at_least=1)
    port: int = option(8765, "Port of the server.", at_least=1, at_most=65535)


def main(config):
    server = start(config)
    try:
        texts, first, last, seconds = asyncio.run(_all(config, range(config.clients)))
        tokens = _metric(config, "new_tokens_total")
        print(f"{len(texts)} of {config.clients} streams ended, in {seconds:.1f} s")
        print(f"{tokens:,.0f} tokens, {tokens / seconds:,.0f} per second")
        for name, times in (("first", first), ("last", last)):
            half, most = np.percentile(times, [50, 95])
            print(f"time to the {name} token: median {half:.2f} s, 95% {most:.2f} s")
        alone = [asyncio.run(_all(config, [client]))[0][client] for client in range(5)]
        same = all(texts[client] == text for client, text in enumerate(alone))
        print(f"the same text when requested alone: {same}")
        _refused(config)
        halves, wholes = asyncio.run(overrun(config))
        print(f"half-sent: {dict(halves)}; whole requests meanwhile: {dict(wholes)}")
        reasons, status, seconds = asyncio.run(told_to_end(config, server))
        print(f"SIGTERM: streams {dict(reasons)}, status {status} after {seconds:.1f} s")
        server = start(config)
        asyncio.run(_killed_in_the_middle(config, server))
        begin = time.perf_counter()
        server = start(config)
        print(f"restarted after a kill in {time.perf_counter() - begin:.1f} s")
        again = asyncio.run(_all(config, range(config.clients)))[0]
        print(f"the same texts after that: {again == texts}")
    finally:
        server.kill()


async def overrun(config):
    """Sends half-sent bodies, and whole requests while those wait.

    Returns:
        (Counter of the statuses of half-sent requests, Counter of those of whole ones); a connection
        that ends without a status counts as "none".
    """
    halves = [asyncio.create_task(_half_sent(config)) for _ in range(config.half_sent)]
    await asyncio.sleep(0.2)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as http:

        async def whole(client):
            body = _body(config, client) | {"stream": False}
            return (await http.post(_url(config, "/v1/completions"), json=body)).status_code

        wholes = await asyncio.gather(*map(whole, range(config.clients)))
    return collections.Counter(await asyncio.gather(*halves)), collections.Counter(wholes)


async def _half_sent(config):
    reader, writer = await asyncio.open_connection("127.0.0.1", config.port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b'Content-Length: 1000\r\n\r\n{"prompt": "'
    )
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
        writer.close()
        return int(answer.split()[1]) if answer else "none"
    return "none"


async def told_to_end(config, server):
    """Sends SIGTERM during streams and half-sent bodies.

    Returns:
        (Counter of how streams ended: "length", "stop", "error" for an error event, "cut" for a closed
        connection; int, exit status of the server; float, seconds until its exit).
    """
    halves = [asyncio.create_task(_half_sent(config)) for _ in range(config.half_sent)]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as http:

        async def ending(client):
            try:
                return await _reason(config, http, client)
            except httpx.TransportError:
                return "cut"

        streams = [asyncio.create_task(ending(client)) for client in range(config.clients)]
        while not (_metric(config, "running") or all(stream.done() for stream in streams)):
            await asyncio.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        begin = time.perf_counter()
        status = await asyncio.to_thread(server.wait)
        seconds = time.perf_counter() - begin
        reasons = await asyncio.gather(*streams)
    await asyncio.gather(*halves)
    return collections.Counter(reasons), status, seconds


async def _reason(config, http, client):
    reason, body = "cut", _body(config, client)
    async with http.stream("POST", _url(config, "/v1/completions"), json=body) as response:
        if response.status_code != 200:
            return response.status_code
        async for line in response.aiter_lines():
            data = line.removeprefix("data: ")
            if data and data != "[DONE]":
                content = json.loads(data)
                reason = "error" if "error" in content else content["choices"][0]["finish_reason"]
    return reason


def start(config):
    """Starts the server, and returns its process once it responds."""
    command = [sys.executable, "-m", "experiments.serve", f"--model={config.model}"]
    command += [f"--port={config.port}", f"--rows={config.rows}"]
    command += [f"--body_seconds={_BODY_SECONDS}", f"--drain_seconds={_DRAIN_SECONDS}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(600):
        try:
            if httpx.get(_url(config, "/health")).status_code == 200:
                return server
        except httpx.TransportError:
            if server.poll() is not None:
                raise ValueError("The server has exited; its errors are above") from None
        time.sleep(0.2)
    raise ValueError("The server does not respond within 120 s")


def _url(config, path):
    return f"http://127.0.0.1:{config.port}{path}"


def _body(config, client):
    return {
        "prompt": config.prompt.replace("{}", str(100 + client)),
        "max_tokens": config.max_tokens,
        "seed": client,
        "stream": True,
    }


async def _all(config, clients):
    """Streams of all clients: (dict of client to text, seconds to first tokens, to last tokens, in all)."""
    start = time.perf_counter()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as http:
        done = await asyncio.gather(*(_stream(config, http, client) for client in clients))
    texts = {client: text for client, text, _, _ in done}
    return texts, [d[2] for d in done], [d[3] for d in done], time.perf_counter() - start


async def _stream(config, http, client):
    """One client's stream: (client, text, seconds to its first token, seconds to its last)."""
    start, first, text, reason = time.perf_counter(), None, "", None
    body = _body(config, client)
    async with http.stream("POST", _url(config, "/v1/completions"), json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                last = time.perf_counter() - start
                if reason is None:
                    raise ValueError(f"Client {client}: the stream ended without a reason")
                return client, text, first, last
            if data:
                first = first or time.perf_counter() - start
                choice = json.loads(data)["choices"][0]
                text += choice["text"]
                reason = choice["finish_reason"]
    raise ValueError(f"Client {client}: the stream broke off")


def _metric(config, name):
    lines = httpx.get(_url(config, "/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).split()[1])


def _refused(config):
    for what, content in (
        ("not JSON", b"{"),
        ("no prompt", b"{}"),
        ("oversized", b" " * 1_000_000),
        ("too long", json.dumps({"prompt": "a", "max_tokens": 10**6}).encode()),
    ):
        headers = {"Content-Type": "application/json"}
        response = httpx.post(_url(config, "/v1/completions"), content=content, headers=headers)
        print(f"{what}: {response.status_code} {response.json()['error']['message'][:60]}")


async def _killed_in_the_middle(config, server):
    streams = asyncio.create_task(_all(config, range(config.clients)))
    await asyncio.sleep(0.5)
    server.kill()
    server.wait()
    try:
        await streams
    except (httpx.TransportError, ValueError) as error:
        print(f"killed: clients see {type(error).__name__}")


if __name__ == "__main__":
    launch(LoadTestConfig, main, __doc__)
