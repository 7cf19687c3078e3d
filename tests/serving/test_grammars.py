"""What a response is asked to be, it is: by itself, beside others, streamed, and whatever schema comes."""

from __future__ import annotations

import asyncio
import collections
import json
import random

import jsonschema
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("outlines_core")

from tests.serving.conftest import byte_tokenizer
from tests.serving.test_engine import Collected
from tests.serving.test_requests import CHAT_COMPLETE, COMPLETE, text_of
from tests.text.test_json_patterns import random_schema
from tfalign.decoding import Greedy, Sampler, generate
from tfalign.decoding.patterns import json_schema
from tfalign.functional.random import uniform
from tfalign.serving import grammars
from tfalign.serving.grammars import Grammars, compile_form
from tfalign.serving.requests import RefusedError

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"enum": ["a", "好"]}, "ok": {"type": "boolean"}},
    "required": ["n", "s"],
}
V, STOP = 259, 2


def asked_for(schema):
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}


def form(schema):
    return json.dumps({"schema": schema})


def alone(model, request, sampler, constraint=None):
    """The library's tokens for a request's prompt."""
    found = generate(
        model,
        np.array([[0] * (8 - len(request.token_ids)) + request.token_ids], "int32"),
        np.arange(8)[None, :] >= 8 - len(request.token_ids),
        max_new_tokens=24,
        sampler=sampler,
        seed=request.seed,
        stop_tokens=(STOP,),
        constraint=constraint,
    )
    return np.asarray(found.tokens)[0][np.asarray(found.mask)[0]].tolist()


@pytest.mark.slow
def test_rows_with_and_without_a_grammar_are_the_librarys(client, model):
    """Twelve requests in four rows, every third of them of a schema."""
    engine, tokenizer = client.server.engine, client.server.tokenizer
    grammar = compile_form(form(SCHEMA), tokenizer, V)
    constraint = json_schema(SCHEMA, tokenizer, V, 24)
    choices = {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "min_p": 0.01}
    settings, asked = [(Greedy(), {"temperature": 0.0}), (Sampler(**choices), choices)], []
    for number in range(12):
        sampler, choices = settings[number % 2]
        given = {"grammar": grammar} if number % 3 == 0 else {}
        one = Collected([5 + number] * (1 + number % 5), 24, seed=number, **choices, **given)
        engine.submit(one.request)
        asked.append((one, sampler, constraint if given else None))
    for one, sampler, restriction in asked:
        assert one.done.wait(60)
        assert one.tokens == alone(model, one.request, sampler, restriction)
        if restriction is not None:
            assert one.reason == "stop"
            jsonschema.validate(json.loads(tokenizer.decode(one.tokens[:-1])), SCHEMA)
    assert engine._program.traces == 1 and not np.asarray(engine._biases.values()).any()


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_a_bias_is_added_to_the_logits(client, model, temperature):
    bias = {70: 2.5, 71: -100, 90: 3.0, STOP: -100, 120: 4}
    one = Collected([9, 10], 12, seed=6, temperature=temperature, logit_bias=bias)
    client.server.engine.submit(one.request)
    assert one.done.wait(60)
    text = [9, 10]
    for t, token in enumerate(one.tokens):
        logits = np.array(model(np.array([text], "int32")))[:, -1]
        logits[0, list(bias)] += list(bias.values())
        sampler = Sampler() if temperature else Greedy()
        drawn, _ = sampler.choose(logits, uniform(np.uint32(6), np.array([0]), np.array([t])))
        assert int(drawn[0]) == token
        text.append(token)


def test_a_token_is_forced_or_banned(client):
    body = {"prompt": "a", "max_tokens": 12, "seed": 1}
    token = client.server.tokenizer.encode("x")[0]
    forced = client.post(COMPLETE, json=body | {"logit_bias": {str(token): 100}}).json()
    assert forced["choices"][0] == {"index": 0, "text": "x" * 12, "finish_reason": "length"}
    plain = Collected([9], 12, seed=1)
    client.server.engine.submit(plain.request)
    assert plain.done.wait(60)
    other = Collected([9], 12, seed=1, logit_bias=dict.fromkeys(plain.tokens, -100))
    again = Collected([9], 12, seed=1)
    for one in (other, again):
        client.server.engine.submit(one.request)
    assert other.done.wait(60) and not set(other.tokens) & set(plain.tokens)
    assert again.done.wait(60) and again.tokens == plain.tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_chat", [False, True])
@pytest.mark.parametrize(
    "response_format", [{"type": "json_object"}, asked_for(SCHEMA)], ids=["object", "schema"]
)
def test_the_text_is_what_was_asked_for(client, is_chat, stream, response_format):
    messages = {"messages": [{"role": "user", "content": "hi"}]}
    body = messages if is_chat else {"prompt": "a"}
    body |= {"response_format": response_format, "max_tokens": 40, "stream": stream, "top_p": 0.9}
    for seed in range(3):
        response = client.post(CHAT_COMPLETE if is_chat else COMPLETE, json=body | {"seed": seed})
        assert response.status_code == 200, response.text
        value = json.loads(text_of(response, is_chat, body))
        schema = response_format.get("json_schema", {}).get("schema", {"type": "object"})
        jsonschema.validate(value, schema)
        if not stream:
            assert response.json()["choices"][0]["finish_reason"] == "stop"


def test_with_stop_and_a_bias(client):
    bias = {str(client.server.tokenizer.encode("7")[0]): 20}
    body = {"prompt": "a", "response_format": asked_for(SCHEMA), "max_tokens": 30, "seed": 3}
    text = client.post(COMPLETE, json=body | {"logit_bias": bias}).json()["choices"][0]["text"]
    assert json.loads(text)["n"] >= 7 and "77" in text
    body["stop"] = "s"
    cut = client.post(COMPLETE, json=body | {"logit_bias": bias}).json()["choices"][0]
    assert cut["text"] == text[: text.index("s")] and cut["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"response_format": asked_for(SCHEMA), "max_tokens": 8},
            "The shortest response of the format that was asked for has 16 tokens, its stop token"
            " counted. Received: 8 tokens at most",
        ),
        (
            {"response_format": asked_for({"type": "integer", "multipleOf": 3})},
            "The schema of response_format is refused: 'multipleOf' is not done",
        ),
        ({"response_format": asked_for({"$ref": "#"})}, "nothing of bounded depth"),
    ],
)
def test_what_cannot_be_is_a_400(client, fields, sentence):
    response = client.post(COMPLETE, json={"prompt": "a"} | fields)
    assert response.status_code == 400 and sentence in response.json()["error"]["message"]
    fits = {"response_format": asked_for(SCHEMA), "max_tokens": 16}
    assert client.post(COMPLETE, json={"prompt": "a"} | fits).status_code == 200


def test_without_the_library_it_is_a_501(client, monkeypatch):
    monkeypatch.setattr(grammars.importlib.util, "find_spec", lambda name: None)
    body = {"prompt": "a", "response_format": {"type": "json_object"}}
    response = client.post(COMPLETE, json=body)
    assert response.status_code == 501 and "tfalign[constraints]" in response.text


def compiling(during, seconds=20.0, **choices):
    """What ``during`` makes of a tokenizer's Grammars."""

    async def run():
        kept = Grammars(byte_tokenizer(), V, seconds, **choices)
        try:
            return await during(kept)
        finally:
            await kept.stop()

    return asyncio.run(run())


def test_a_schema_is_compiled_once_and_goes_when_others_need_its_place():
    schemas = [form({"type": "string", "maxLength": n}) for n in (20, 21, 22)]
    size = compile_form(schemas[2], byte_tokenizer(), V).num_bytes

    async def during(kept):
        made, make = collections.Counter(), kept._make

        def count(schema):
            made[schema] += 1
            return make(schema)

        kept._make = count
        same = await asyncio.gather(*(kept.of(schemas[0]) for _ in range(5)))
        assert len(set(map(id, same))) == 1
        await kept.of(schemas[1])
        assert await kept.of(schemas[0]) is same[0]
        await kept.of(schemas[2])  # the one in the middle is the oldest now
        assert list(kept._kept) == [schemas[0], schemas[2]]
        await kept.of(schemas[1])
        return made

    made = compiling(during, most_bytes=2 * size)
    assert made == {schemas[0]: 1, schemas[1]: 2, schemas[2]: 1}


COSTLY = {
    "many states": {"type": "string", "pattern": "(a|b)*a(a|b){30}"},
    "long": {"type": "string", "minLength": 10**9},
    "wide": {
        "$defs": {
            f"d{n}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}] * 9}
            for n in range(12)
        }
        | {"d12": True},
        "$ref": "#/$defs/d0",
    },
}


@pytest.mark.parametrize(
    "name",
    ["many states", *(pytest.param(name, marks=pytest.mark.slow) for name in ("long", "wide"))],
)
def test_a_schema_that_costs_too_much_is_cut_off_and_the_next_one_is_served(name):
    async def during(kept):
        costly = asyncio.ensure_future(kept.of(form(COSTLY[name])))
        turns = 0
        while not costly.done():
            await asyncio.sleep(0.01)
            turns += 1
        with pytest.raises(RefusedError, match="schema of response_format") as refused:
            await costly
        assert refused.value.status == 400
        return turns, await kept.of(form({"type": "boolean"}))

    turns, grammar = compiling(during, 2.0)
    assert turns >= 10 and grammar.distances[0] == 5  # true, and its end


def test_whatever_schema_comes_is_honoured_or_refused(client, fuzz_cases):
    """A 200 is JSON of the schema; nothing is a 500."""
    draw, counts = random.Random(1), collections.Counter()
    for _ in range(fuzz_cases(60)):
        schema = random_schema(draw)
        if draw.random() < 0.1:
            schema = draw.choice(
                [{"multipleOf": 2}, {"type": 5}, {"anyOf": {}}, {"items": 5}, {"": 1}]
            )
        fields = {
            "prompt": draw.choice(["a", "[", "好"]),
            "response_format": draw.choice([asked_for(schema)] * 4 + [{"type": "json_object"}]),
            "max_tokens": draw.choice([3, 12, 30, 50]),
            "stream": draw.random() < 0.3,
            "temperature": draw.choice([0, 0.7, 2]),
            "top_k": draw.choice([0, 3]),
            "logit_bias": {str(draw.randrange(V)): draw.choice([-100, 5, 100])},
        }
        response = client.post(COMPLETE, json=fields)
        counts[response.status_code] += 1
        if response.status_code != 200:
            assert response.status_code in (400, 413) and response.json()["error"]["message"]
            continue
        asked = fields["response_format"].get("json_schema", {"schema": {"type": "object"}})
        jsonschema.Draft202012Validator(asked["schema"]).validate(
            json.loads(text_of(response, False, fields))
        )
    print(f"statuses {dict(counts)}")
    assert counts[200] > counts[400] > 0
