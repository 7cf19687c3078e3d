"""The HTTP server: OpenAI's shapes, streams that add up, limits, and what is refused."""

import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

COMPLETE, CHAT_COMPLETE = "/v1/completions", "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def events(response):
    lines = [line for line in response.text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_stream_adds_up_to_the_whole(client):
    body = {"prompt": "Hello", "max_tokens": 20, "seed": 3}
    whole = client.post(COMPLETE, json=body).json()
    assert whole["object"] == "text_completion" and whole["model"] == "agent"
    assert whole["usage"]["prompt_tokens"] == 6  # with BOS
    assert 1 <= whole["usage"]["completion_tokens"] <= 20
    parts = events(client.post(COMPLETE, json=body | {"stream": True}))
    assert "".join(part["choices"][0]["text"] for part in parts) == whole["choices"][0]["text"]
    reasons = [part["choices"][0]["finish_reason"] for part in parts]
    assert reasons[-1] == whole["choices"][0]["finish_reason"] in ("stop", "length")
    assert set(reasons[:-1]) <= {None}


def test_chat_whole_and_streamed(client):
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "temperature": 0}
    whole = client.post(CHAT_COMPLETE, json=body).json()
    message = whole["choices"][0]["message"]
    assert whole["object"] == "chat.completion" and message["role"] == "assistant"
    parts = events(client.post(CHAT_COMPLETE, json=body | {"stream": True}))
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == message["content"]
    assert parts[-1]["object"] == "chat.completion.chunk"


def test_a_stream_may_end_with_its_usage(client):
    body = {"prompt": "Hello", "max_tokens": 5, "stream": True, "seed": 2}
    plain = events(client.post(COMPLETE, json=body))
    assert not any("usage" in part for part in plain)
    *parts, last = events(
        client.post(COMPLETE, json=body | {"stream_options": {"include_usage": True}})
    )
    assert [part["choices"] for part in parts] == [part["choices"] for part in plain]
    assert all(part["usage"] is None for part in parts)
    count = last["usage"]["completion_tokens"]
    assert last["choices"] == [] and 1 <= count <= 5
    assert last["usage"] == {
        "prompt_tokens": 6,
        "completion_tokens": count,
        "total_tokens": 6 + count,
    }


def test_ids_that_end_a_response(client):
    body = {"prompt": [1, 40, 41], "max_tokens": 30, "seed": 1}
    whole = client.post(COMPLETE, json=body).json()
    tokens = client.server.tokenizer.encode(whole["choices"][0]["text"])
    if whole["choices"][0]["text"].isascii():  # else the text's bytes are not the tokens
        cut = client.post(COMPLETE, json=body | {"stop_token_ids": [tokens[3]]}).json()
        assert cut["choices"][0]["finish_reason"] == "stop"
        assert cut["usage"]["completion_tokens"] == tokens.index(tokens[3]) + 1
        kept = tokens[: tokens.index(tokens[3])]
        assert cut["choices"][0]["text"] == client.server.tokenizer.decode(kept)


def test_every_response_is_timed(client):
    def count():
        lines = client.get("/metrics").text.splitlines()
        return [float(x.split()[1]) for x in lines if x.startswith("response_seconds_count")][0]

    before = count()
    for stream in (False, True):
        client.post(COMPLETE, json={"prompt": "a", "max_tokens": 3, "stream": stream})
    assert count() == before + 2


def test_lines_end_where_the_format_ends_them():
    """Texts may hold characters at which many programs cut lines, and which JSON leaves as they are."""
    from tfalign.serving.choices import server_sent_event

    content = {"text": "a\u2028b\u2029c\x85d\ne\u00e9"}
    (line,) = server_sent_event(content).strip().splitlines()
    assert json.loads(line.removeprefix("data: ")) == content and "\u00e9" in line


def test_ids_and_stop_strings(client):
    body = {"prompt": [1, 40, 41], "max_tokens": 30, "seed": 1}
    text = client.post(COMPLETE, json=body).json()["choices"][0]["text"]
    stop = next(char for char in text if char not in "\ufffd")
    cut = client.post(COMPLETE, json=body | {"stop": stop}).json()["choices"][0]
    assert cut == {"index": 0, "text": text[: text.index(stop)], "finish_reason": "stop"}


@pytest.mark.parametrize(
    "path, content, status, message",
    [
        (COMPLETE, b"{", 400, "The body is not JSON."),
        (COMPLETE, b"[" * 1_500, 400, "The body is not JSON."),
        (COMPLETE, b"[]", 400, "The body must be a JSON object."),
        (COMPLETE, b"x" * 2_001, 413, "A request may have 2000 bytes."),
        (COMPLETE, {}, 400, "prompt must be a string or a list of token ids."),
        (COMPLETE, {"prompt": [259]}, 400, "A token's id must be in [0, 259)."),
        (COMPLETE, {"prompt": []}, 400, "The prompt is empty."),
        (COMPLETE, {"prompt": "\ud83d"}, 400, "half a surrogate pair"),
        (COMPLETE, {"prompt": "a", "max_tokens": 0}, 400, "Received: max_tokens=0"),
        (COMPLETE, {"prompt": "a", "max_tokens": True}, 400, "Received: max_tokens=True"),
        (COMPLETE, {"prompt": "a", "max_tokens": 63}, 400, "The model takes 64 tokens. Received"),
        (COMPLETE, {"prompt": "a" * 100}, 400, "a prompt of 101"),
        (COMPLETE, {"prompt": "a", "temperature": -1}, 400, "Received: temperature=-1"),
        (COMPLETE, {"prompt": "a", "top_p": 0}, 400, "Received: top_p=0"),
        (COMPLETE, {"prompt": "a", "seed": 2**32}, 400, "Received: seed=4294967296"),
        (
            COMPLETE,
            {"prompt": "a", "best_of": 2},
            400,
            "best_of is not supported. Received: best_of=2",
        ),
        (COMPLETE, {"prompt": "a", "stop": [1]}, 400, "stop must be a string or a list"),
        (COMPLETE, {"prompt": "a", "stop": ["a"] * 5}, 400, "stop may have 4 strings"),
        (COMPLETE, {"prompt": "a", "stream": "yes"}, 400, "stream must be true or false"),
        (CHAT_COMPLETE, {"messages": []}, 400, "messages must be a list of messages."),
        (CHAT_COMPLETE, {"messages": [{"role": "user"}]}, 400, "must have role and content"),
        (CHAT_COMPLETE, {"prompt": "a"}, 400, "messages must be a list of messages."),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
def test_what_is_malformed_or_too_large_is_refused(client, path, content, status, message):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    response = client.post(path, content=data, headers=JSON)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


def test_a_body_without_a_length_is_cut_off(client):
    response = client.post(COMPLETE, content=iter([b"x" * 1_500] * 2), headers=JSON)
    assert response.status_code == 413


def test_health_models_and_metrics(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/v1/models").json()["data"][0]["id"] == "agent"
    assert client.get(COMPLETE).status_code == 405
    client.post(COMPLETE, json={"prompt": "a", "max_tokens": 1})
    metrics = client.get("/metrics").text
    assert 'requests_total{route="/v1/completions",status="200"}' in metrics
    counted = {
        line.split()[0]: float(line.split()[1])
        for line in metrics.splitlines()
        if not line.startswith("#")
    }
    assert counted["new_tokens_total"] >= 1 and counted["running"] == 0
    assert counted["response_seconds_count"] >= 1


def test_an_engine_that_failed_is_told(client):
    server = client.server
    server.engine.failure = RuntimeError("out of memory")
    try:
        assert client.get("/health").status_code == 503
        response = client.post(COMPLETE, json={"prompt": "a"})
        assert response.status_code == 503 and response.headers["retry-after"] == "1"
    finally:
        server.engine.failure = None


def test_a_tokenizers_id_that_the_model_lacks_is_a_400(client, monkeypatch):
    monkeypatch.setattr(client.server.tokenizer, "encode", lambda text: [5, 259])
    response = client.post(COMPLETE, json={"prompt": "a"})
    assert response.status_code == 400 and "must be in [0, 259)" in response.text
