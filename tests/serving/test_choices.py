"""Several prompts and several responses to each: those that would be given one by one."""

import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

COMPLETE, CHAT = "/v1/completions", "/v1/chat/completions"


def choices_of(client, path, **body):
    response = client.post(path, json={"max_tokens": 8} | body)
    assert response.status_code == 200, response.text
    return response.json()


def streamed(client, path, **body):
    """({index: what it says}, {index: why it ends}, usage)."""
    response = client.post(path, json={"max_tokens": 8, "stream": True} | body)
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    texts, reasons, usage = {}, {}, None
    for part in map(json.loads, lines[:-1]):
        usage = part.get("usage") or usage
        for choice in part["choices"]:
            index, said = choice["index"], choice.get("delta", {}).get("content")
            assert index not in reasons  # nothing comes after its end
            texts[index] = texts.get(index, "") + (choice.get("text") or said or "")
            reasons |= {index: choice["finish_reason"]} if choice["finish_reason"] else {}
    return texts, reasons, usage


def test_each_is_what_it_is_alone(client):
    prompts = ["Hello", [1, 70, 71]]
    together = choices_of(client, COMPLETE, prompt=prompts, n=2, seed=7)
    assert [choice["index"] for choice in together["choices"]] == [0, 1, 2, 3]
    alone = [
        choices_of(client, COMPLETE, prompt=prompt, seed=7 + 2 * place + number)
        for place, prompt in enumerate(prompts)
        for number in range(2)
    ]
    assert [x["text"] for x in together["choices"]] == [x["choices"][0]["text"] for x in alone]
    assert together["usage"] == {
        "prompt_tokens": 6 + 3,
        "completion_tokens": sum(x["usage"]["completion_tokens"] for x in alone),
        "total_tokens": 9 + sum(x["usage"]["completion_tokens"] for x in alone),
    }


def test_a_largest_seed_is_followed_by_the_smallest(client):
    last, first = choices_of(client, COMPLETE, prompt="a", n=2, seed=2**32 - 1)["choices"]
    assert first["text"] == choices_of(client, COMPLETE, prompt="a", seed=0)["choices"][0]["text"]
    assert last["text"] != first["text"]


@pytest.mark.parametrize("path", [COMPLETE, CHAT])
def test_a_stream_of_several_adds_up_to_them(client, path):
    body = (
        {"messages": [{"role": "user", "content": "hi"}]}
        if path == CHAT
        else {"prompt": ["a", "b"]}
    )
    whole = choices_of(client, path, **body, n=3, seed=1)
    texts, reasons, usage = streamed(
        client, path, **body, n=3, seed=1, stream_options={"include_usage": True}
    )
    for choice in whole["choices"]:
        said = choice["message"]["content"] if path == CHAT else choice["text"]
        assert texts[choice["index"]] == said
        assert reasons[choice["index"]] == choice["finish_reason"]
    assert len(texts) == len(whole["choices"]) == (3 if path == CHAT else 6)
    assert usage == whole["usage"]


def test_where_all_cannot_wait_none_is_decoded(client):
    """Four rows, fifty that wait: the 56th of 60 is refused, and the others leave their places."""
    full = client.post(COMPLETE, json={"prompt": "a", "n": 60, "max_tokens": 40})
    assert full.status_code == 503 and "Too many requests wait" in full.text
    assert len(choices_of(client, COMPLETE, prompt="a", n=40)["choices"]) == 40
    lines = client.get("/metrics").text.splitlines()
    assert "waiting 0.0" in lines and "running 0.0" in lines


def test_a_model_by_its_name(client):
    listed = client.get("/v1/models").json()["data"]
    assert client.get("/v1/models/agent").json() == listed[0]
    missing = client.get("/v1/models/gpt-4")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "model_not_found"
