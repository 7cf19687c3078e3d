"""A tiny model's directory and its server, in this process."""

from __future__ import annotations

import pytest

from tfalign.models import CausalLM, GPTConfig
from tfalign.text import Tokenizer, train_byte_bpe

CHAT = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def byte_tokenizer(template=CHAT):
    """The 256 bytes and three special tokens."""
    trained = train_byte_bpe([], 259)
    return Tokenizer(trained._special, trained.special_tokens, template)


def tiny_model(max_positions=64):
    """A CausalLM over these."""
    config = GPTConfig(259, 16, 1, 2, max_positions=max_positions, initializer_range=0.3)
    return CausalLM(config)


@pytest.fixture(scope="session")
def model():
    return tiny_model()


def make_client(
    model,
    tokenizer=None,
    rows=4,
    most_waiting=50,
    length=64,
    feedback=None,
    prompts=(),
    profiles=None,
    **limits,
):
    """A TestClient of a server, to be entered."""
    from starlette.testclient import TestClient

    from tfalign.serving.app import Server
    from tfalign.serving.engine import Engine
    from tfalign.serving.settings import Limits

    tokenizer = tokenizer or byte_tokenizer()
    engine = Engine(model, rows, length, tokenizer.stop_ids, most_waiting)
    server = Server(engine, tokenizer, "agent", Limits(**limits), feedback, prompts, profiles)
    client = TestClient(server.app(), base_url="http://127.0.0.1:8000")
    client.server = server
    return client


@pytest.fixture(scope="session")
def client(model):
    pytest.importorskip("starlette")
    pytest.importorskip("prometheus_client")
    with make_client(model, most_bytes=2_000) as client:
        yield client
