"""Who may ask: keys, pages of other sites, names pointed at this machine; and how much: sizes and times."""

from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from starlette.requests import Request as HTTPRequest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from tests.serving.conftest import CHAT, byte_tokenizer
from tfalign.serving.conversations import ConversationEncoder
from tfalign.serving.limits import Gate, is_allowed_host, read_limited
from tfalign.serving.requests import RefusedError
from tfalign.serving.settings import Limits
from tfalign.text import encode_conversation

COMPLETE, CHAT_COMPLETE = "/v1/completions", "/v1/chat/completions"
BODY = json.dumps({"prompt": "a", "max_tokens": 1})
JSON = {"Content-Type": "application/json"}


def spent(client):
    """Requests that were answered."""
    metrics = client.get("/metrics").text.splitlines()
    lines = [line for line in metrics if line.startswith("prompt_tokens_total ")]
    return float(lines[0].split()[1])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),  # a sandboxed frame, or a file
        ({"Origin": "http://localhost:3000"}, 403),  # another server of the same machine
        ({"Origin": "https://127.0.0.1:8000.evil.example"}, 403),
        ({"Origin": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),  # what a page may send without asking first
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Host": "evil.example"}, 403),  # its name pointed at 127.0.0.1
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "user@127.0.0.1"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "127.0.0.1:8000/x"}, 403),
        ({"Host": "[::1"}, 403),
    ],
)
def test_a_page_of_another_site_cannot_spend_it(client, headers, status):
    before = spent(client)
    for path in (COMPLETE, CHAT_COMPLETE):
        response = client.post(path, content=BODY, headers=JSON | headers)
        assert response.status_code == status and response.json()["error"]["message"]
        assert not any(name.startswith("access-control") for name in response.headers)
    assert spent(client) == before


def test_a_page_that_asks_first_gets_no_leave(client):
    headers = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,authorization",
    }
    response = client.options(COMPLETE, headers=headers)
    assert response.status_code == 403
    assert not any(name.startswith("access-control") for name in response.headers)
    del headers["Origin"]
    assert client.options(COMPLETE, headers=headers).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8000"},
        {"Host": "localhost"},
        {"Host": "LOCALHOST:8000"},
        {"Host": "[::1]:8000"},
        {"Host": "10.0.0.7"},
        {"Host": "gpu-box:8000"},
        {"Content-Type": 'Application/JSON; Charset="UTF-8"'},
    ],
)
def test_ones_own_programs_can(client, headers):
    assert client.post(COMPLETE, content=BODY, headers=JSON | headers).status_code == 200


def test_names_may_be_added():
    allowed = Limits(allowed_hosts="Agent.Example, other.example").hosts
    assert is_allowed_host("agent.example:80", allowed) and is_allowed_host(
        "agent.example.", allowed
    )
    assert not is_allowed_host("x.agent.example", allowed)
    assert is_allowed_host("evil.example", ("*",))


def test_a_key():
    def refuse(scope, error):
        headers = {"X-Message": str(error)}
        return PlainTextResponse(str(error), error.status, headers)

    gate = Gate(PlainTextResponse("through"), Limits(api_key="s3cret key"), refuse)
    client = TestClient(gate, base_url="http://localhost")
    for header in (
        None,
        "s3cret key",
        "Bearer",
        "Bearer s3cret",
        "Bearer s3cret keyy",
        "Basic s3cret key",
        "Bearer S3CRET KEY",
        "Bearer s3cr\xe9t key",
    ):
        headers = JSON | ({"Authorization": header.encode("latin-1")} if header else {})
        response = client.post(COMPLETE, content=BODY, headers=headers)
        assert response.status_code == 401 and "s3cret" not in response.text
    assert client.get("/metrics").status_code == client.get("/v1/models").status_code == 401
    assert client.get("/health").text == "through"
    right = JSON | {"Authorization": "bearer s3cret key"}
    assert client.post(COMPLETE, content=BODY, headers=right).text == "through"


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"most_bytes": 0}, "--most_bytes must be at least 2. Received: most_bytes=0"),
        ({"body_seconds": 0.0}, "--body_seconds must be above 0.*body_seconds=0.0"),
        ({"body_seconds": float("nan")}, "--body_seconds must be.*=nan"),
        ({"render_seconds": -1.0}, "--render_seconds must be.*=-1.0"),
        ({"drain_seconds": float("inf")}, "--drain_seconds must be.*=inf"),
        ({"api_key": "schlüssel"}, "--api_key must be printable ASCII"),
        ({"api_key": "a\nb"}, "--api_key must be printable ASCII"),
        ({"api_key": " a"}, "without spaces at its ends"),
    ],
)
def test_limits_out_of_their_range(choices, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        Limits(**choices)
    assert "schl" not in str(refused.value)
    assert "hidden" not in repr(Limits(api_key="hidden"))


def reading(chunks, limits, ending=None, headers=()):
    """``read_limited`` of a body that comes in (seconds before, ASGI message) pairs."""

    async def run():
        left = list(chunks)

        async def receive():
            if not left:
                await asyncio.Event().wait()
            seconds, message = left.pop(0)
            await asyncio.sleep(seconds)
            return message

        scope = {"type": "http", "method": "POST", "headers": list(headers)}
        stop = asyncio.Event()
        if ending:
            stop.set()
        return await read_limited(HTTPRequest(scope, receive), limits, stop)

    return asyncio.run(run())


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


def test_bodies_that_come_whole():
    limits = Limits(most_bytes=10)
    assert reading([(0, part(b"12345")), (0.01, part(b"67890", False))], limits) == b"1234567890"


@pytest.mark.parametrize(
    ("chunks", "choices", "status"),
    [
        ([(0, part(b"half"))], {}, 408),
        ([(0.02, part(b"x"))] * 1_000, {}, 408),  # a little at a time is no way around it
        ([(0, part(b"half"))], {"ending": True}, 503),
        ([(0, part(b"half")), (0, {"type": "http.disconnect"})], {}, 499),
        ([(0, part(b"x" * 2_000))], {}, 413),
        ([(0, part(b"x" * 600))] * 2, {}, 413),
        ([], {"headers": [(b"content-length", b"1001")]}, 413),
        ([], {"headers": [(b"content-length", b"9" * 5_000)]}, 413),
        ([], {"headers": [(b"content-length", b"\xb2")]}, 408),
    ],
)
def test_bodies_that_do_not(chunks, choices, status):
    with pytest.raises(RefusedError) as refused:
        reading(chunks, Limits(most_bytes=1_000, body_seconds=0.2), **choices)
    assert refused.value.status == status


# --- templates that cost too much

SLOW = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
TEMPLATES = {
    "slow": (SLOW, "took more than 1 seconds"),
    "huge": ("{{ 'x' * 10000000000 }}", "template"),
    "deep": ("{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}", "template"),
    "nested": ("{% if 1 %}" * 500 + "{% endif %}" * 500, "template"),
    "endless": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template"),
}
HELLO = ({"role": "user", "content": "hello"},)


def encoding(template, seconds, during=lambda encoder: encoder.encode(HELLO)):
    """What ``during`` makes of an encoder's processes."""

    async def run():
        encoder = ConversationEncoder(byte_tokenizer(template), seconds, 64, processes=1)
        await encoder.start()
        try:
            return await during(encoder)
        finally:
            await encoder.stop()

    return asyncio.run(run())


def check_refused(name):
    template, sentence = TEMPLATES[name]
    with pytest.raises(RefusedError, match=sentence) as refused:
        encoding(template, 1.0)
    assert refused.value.status == 400


@pytest.mark.parametrize("name", ["huge", "deep"])
def test_a_template_that_costs_too_much_is_refused(name):
    check_refused(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_of_every_costly_kind(name):
    check_refused(name)


@pytest.mark.slow
def test_the_loop_goes_on_while_a_template_renders_and_the_next_one_is_served():
    async def during(encoder):
        slow = asyncio.ensure_future(encoder.encode(({"role": "user", "content": "slow"},)))
        turns = 0
        while not slow.done():
            await asyncio.sleep(0.01)
            turns += 1
        with pytest.raises(RefusedError, match="took more than 2 seconds"):
            await slow
        return turns, await encoder.encode(HELLO)

    template = "{% if messages[0].content == 'slow' %}" + SLOW + "{% endif %}a:"
    turns, (token_ids, count) = encoding(template, 2.0, during)
    assert turns >= 10 and token_ids == byte_tokenizer().encode("a:") and count == 2


@pytest.mark.slow
def test_a_conversation_has_the_librarys_tokens_and_a_long_one_is_counted():
    expected = encode_conversation(byte_tokenizer(), HELLO, open_ended=True).token_ids
    assert encoding(CHAT, 60.0) == (expected, len(expected))
    assert encoding("{{ 'x' * 1000000 }}", 60.0) == ([], 1_000_000)
    with pytest.raises(RefusedError, match="no chat template, so it takes no messages"):
        encoding(None, 60.0)


def test_half_a_character_in_a_conversation(client):
    surrogate = b'{"messages": [{"role": "user", "content": "\\ud83d"}]}'
    response = client.post(CHAT_COMPLETE, content=surrogate, headers=JSON)
    assert response.status_code == 400 and "half a surrogate" in response.json()["error"]["message"]
    marked = {"messages": [{"role": "user", "content": "\ufdd0"}]}
    assert "noncharacters" in client.post(CHAT_COMPLETE, json=marked).json()["error"]["message"]


def test_a_port_that_is_taken_is_told():
    pytest.importorskip("uvicorn")
    from tfalign.serving.run import bind

    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(ValueError, match="cannot have port .* of '127.0.0.1'.*in use"):
            bind("127.0.0.1", taken.getsockname()[1])
    for host, port in (("127.0.0.1", 70_000), ("no.such.host.invalid", 80), ("", -1)):
        with pytest.raises(ValueError, match="cannot have port"):
            bind(host, port)
