"""The server's command: flags, the key's two ways, and a process that is overrun and told to end."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from experiments.benchmarks.load_test import LoadTestConfig, overrun, start, told_to_end
from tfalign.cli.records import ExportJob, ServeJob
from tfalign.cli.run import export
from tfalign.models import CausalLM, GPTConfig
from tfalign.options import build
from tfalign.serving.settings import Limits
from tfalign.text import Tokenizer, train_byte_bpe


@pytest.mark.parametrize(
    ("record", "options"),
    [
        (ServeJob, {"length": 1}),
        (ServeJob, {"length": -5}),
        (ServeJob, {"rows": 0}),
        (ServeJob, {"rows": 10**9}),
        (ServeJob, {"port": 70_000}),
        (ServeJob, {"port": -1}),
        (ServeJob, {"most_waiting": 0}),
        (ServeJob, {"most_bytes": -1}),
        (ServeJob, {"body_seconds": 0.0}),
        (ServeJob, {"render_seconds": float("nan")}),
        (ServeJob, {"drain_seconds": -1.0}),
        (ServeJob, {"drain_seconds": float("inf")}),
        (LoadTestConfig, {"clients": 0}),
        (LoadTestConfig, {"half_sent": -1}),
        (LoadTestConfig, {"max_tokens": 0}),
        (LoadTestConfig, {"rows": 0}),
        (LoadTestConfig, {"port": 0}),
        (ExportJob, {"batch_size": 0}),
        (ExportJob, {"max_prompt_tokens": -1}),
        (ExportJob, {"max_new_tokens": 0}),
        (ExportJob, {"version": -1}),
        (ExportJob, {"temperature": 0.0}),
        (ExportJob, {"top_k": -1}),
        (ExportJob, {"top_p": 0.0}),
    ],
)
def test_flags_out_of_their_range(record, options):
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f"{name} must be .* Received: {name}={value}"):
        build(record, options)


def test_a_key_from_a_flag_or_the_environment(monkeypatch):
    monkeypatch.delenv("TFALIGN_API_KEY", raising=False)
    config = Limits(allowed_hosts="A.example, b.example,")
    assert config.key == "" and config.hosts == {"a.example", "b.example"}
    monkeypatch.setenv("TFALIGN_API_KEY", "of the environment")
    assert config.key == "of the environment"
    config = Limits(api_key="of the flag")
    assert config.key == "of the flag" and "of the flag" not in repr(config)
    monkeypatch.setenv("TFALIGN_API_KEY", "schl\u00fcssel")
    with pytest.raises(ValueError, match="--api_key must be printable ASCII"):
        Limits()


@pytest.fixture
def agent(tmp_path):
    """A tiny model's directory."""
    trained = train_byte_bpe([], 259)
    CausalLM(GPTConfig(259, 16, 1, 2, max_positions=512)).save_pretrained(tmp_path / "agent")
    Tokenizer(trained._special, trained.special_tokens).save(tmp_path / "agent")
    return tmp_path / "agent"


@pytest.mark.slow
def test_an_export_holds_the_constraint_it_is_given(agent, tmp_path):
    tensorflow, _ = pytest.importorskip("tensorflow"), pytest.importorskip("outlines_core")
    output, sizes = str(tmp_path / "served"), {"max_prompt_tokens": 8, "max_new_tokens": 6}
    export(ExportJob(model=str(agent), output=output, constraint="regex:[0-9]{2}", **sizes))
    serve = tensorflow.saved_model.load(f"{output}/1").signatures["generate"]
    found = serve(prompts=tensorflow.constant(["a", "b"]), seed=tensorflow.constant(1, "int64"))
    assert all(len(text) == 2 and text.isdigit() for text in found["text"].numpy())


@pytest.mark.slow
def test_a_server_that_is_overrun_and_told_to_end(agent):
    """Half-sent bodies get a 408 while whole requests are answered; SIGTERM lets responses end."""
    config = LoadTestConfig(
        model=str(agent), prompt="order {}", clients=30, half_sent=40, max_tokens=200, port=8791
    )
    server = start(config)
    try:
        halves, wholes = asyncio.run(overrun(config))
        assert halves == {408: 40} and wholes == {200: 30}
        reasons, status, _ = asyncio.run(told_to_end(config, server))
        assert status == 143
        assert sum(reasons.values()) == 30 and set(reasons) <= {"stop", "length"}
    finally:
        server.kill()


@pytest.mark.slow
def test_a_server_that_is_told_to_end_does_not_wait_for_ever(agent):
    """Who is not done in time is told so; heads that never end are not waited for."""
    command = [
        sys.executable,
        "-m",
        "experiments.serve",
        f"--model={agent}",
        "--port=0",
        "--rows=1",
    ]
    with subprocess.Popen(
        [*command, "--drain_seconds=0", "--body_seconds=2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        address = server.stdout.readline().split("http://")[1].strip()
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            assert slow.recv(1_000).startswith(b"HTTP/1.1 408")
            assert slow.recv(1_000) == b""
        gone = socket.create_connection((host, int(port)))  # while its body is read
        gone.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90\r\n"
            b"Content-Type: application/json\r\n\r\n{"
        )
        gone.close()
        body = {"prompt": "a", "max_tokens": 500, "stream": True}
        url = f"http://{address}/v1/completions"
        with httpx.stream("POST", url, json=body, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            server.send_signal(signal.SIGTERM)
            left = [line for line in lines if line]
        assert '"error"' in left[-1] or left[-1] == "data: [DONE]"
        assert server.wait(60) == 143
        assert server.stderr.read().count("Traceback") == 0
