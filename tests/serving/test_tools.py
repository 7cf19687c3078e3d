"""Tools over HTTP: calls that must be made are made and valid, others are read, results are sent back."""

from __future__ import annotations

import collections
import json
import random
import re

import jsonschema
import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("outlines_core")

from tests.serving.conftest import byte_tokenizer, make_client, tiny_model
from tests.serving.test_app import events
from tests.serving.test_requests import CHAT_COMPLETE, USER, ask
from tests.serving.test_tool_fields import (
    ADD,
    CALL,
    RESULT,
    TOOLS,
    WEATHER,
    calling,
    named,
    of,
    tool,
)
from tfalign.serving import grammars, responses
from tfalign.serving.engine import Request
from tfalign.serving.grammars import compile_form
from tfalign.text import encode_conversation
from tfalign.tools import FORMATS, Call

SHOWN = (
    "{% for t in tools or [] %}{{ t.function.name }} {% endfor %}"
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}CALL{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
WRITTEN = {
    "hermes": "<tool_call>{{ c.function | tojson }}</tool_call>",
    "llama": '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}',
    "python": "[func_name1({{ c.function.arguments | tojson }})]",
}
NONE = {"type": "object", "maxProperties": 0}  # of a tool without parameters
PARAMETERS = {"get-weather": WEATHER, "add": ADD, "now": NONE}


def tokenizer_of(name):
    return byte_tokenizer(SHOWN.replace("CALL", WRITTEN[name]))


@pytest.fixture(scope="module", params=["hermes", "llama"])
def client(request):
    tokenizer = tokenizer_of(request.param)
    with make_client(tiny_model(512), tokenizer, length=512, most_bytes=10_000) as client:
        client.call_format = FORMATS[request.param]
        yield client


@pytest.fixture
def say(client, monkeypatch):
    """``text ->``: makes it the only text that responses can have; returns the prompts of further requests."""

    def script(text):
        tokenizer, prompts = client.server.tokenizer, []
        monkeypatch.setitem(grammars._KINDS, "text", ("text", lambda text, _: re.escape(text)))
        grammar = compile_form(json.dumps({"text": text}), tokenizer, 259)

        def scripted(token_ids, *rest, **choices):
            prompts.append(token_ids)
            return Request(token_ids, *rest, **choices | {"grammar": grammar})

        monkeypatch.setattr(responses, "Request", scripted)
        return prompts

    return script


def post(client, **fields):
    body = {"messages": USER, "tools": TOOLS, "max_tokens": 200} | fields
    response = client.post(CHAT_COMPLETE, json=body)
    assert response.status_code == 200, response.text
    return response


def choice_of(response):
    return response.json()["choices"][0]


def streamed(response):
    """The choice that a stream's parts add up to, without its ids."""
    message, reasons = {"content": None}, []
    for part in events(response):
        (choice,) = part["choices"]
        reasons.append(choice["finish_reason"])
        delta = choice["delta"]
        message["role"] = delta.get("role", message.get("role"))
        message["content"] = (message["content"] or "") + (delta.get("content") or "")
        for call in delta.get("tool_calls", ()):
            calls = message.setdefault("tool_calls", [])
            assert call.pop("index") == len(calls)
            calls.append(call)
    assert set(reasons[:-1]) <= {None}
    message["content"] = message["content"] or None
    return {"index": 0, "message": message, "finish_reason": reasons[-1]}


def without_ids(choice):
    for call in choice["message"].get("tool_calls", ()):
        assert re.fullmatch("call_[0-9a-f]{24}", call.pop("id"))
    return choice


def check_one_call(choice, names):
    """The name of the one call; its arguments are of the schema."""
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function" and call["function"]["name"] in names
    jsonschema.validate(
        json.loads(call["function"]["arguments"]), PARAMETERS[call["function"]["name"]]
    )
    return call["function"]["name"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_required_is_made(client, stream):
    read = streamed if stream else choice_of
    names = set()
    for seed in range(8):
        response = post(client, tool_choice="required", seed=seed, stream=stream)
        names.add(check_one_call(read(response), PARAMETERS))
        named_one = post(client, tool_choice=named("add"), seed=seed, stream=stream)
        check_one_call(read(named_one), ["add"])
    assert len(names) > 1


def test_a_required_call_ends_within_max_tokens(client):
    form = json.dumps({"call": [tool("add", parameters=ADD)]})
    tokenizer = client.server.tokenizer
    least = int(compile_form(form, tokenizer, 259).distances[0])
    for max_tokens in (least, least + 1):
        response = post(client, tool_choice=named("add"), max_tokens=max_tokens, temperature=2)
        check_one_call(choice_of(response), ["add"])
    body = {"messages": USER, "tools": TOOLS, "tool_choice": named("add"), "max_tokens": least - 1}
    response = client.post(CHAT_COMPLETE, json=body)
    assert response.status_code == 400 and f"has {least} tokens" in response.text


def test_a_seed_repeats_a_call_and_a_stop_cuts_it_off(client):
    ask_twice = [post(client, tool_choice="required", seed=3) for _ in range(2)]
    assert without_ids(choice_of(ask_twice[0])) == without_ids(choice_of(ask_twice[1]))
    cut = choice_of(post(client, tool_choice=named("now"), stop=["now"]))
    assert cut["finish_reason"] == "stop" and "tool_calls" not in cut["message"]
    begin = client.call_format.write([Call("now", {})]).partition("now")[0]
    assert cut["message"]["content"] == begin


def both_ways(client, **fields):
    """The choice, whole and streamed the same."""
    whole = without_ids(choice_of(post(client, **fields)))
    assert without_ids(streamed(post(client, stream=True, **fields))) == whole
    return whole


@pytest.mark.parametrize(
    "calls",
    [
        [Call("add", {"a": True, "b": False})],
        [Call("now", {}), Call("get-weather", {"city": "東京</tool_call>", "of": [1.5, None]})],
    ],
    ids=["one", "two"],
)
def test_calls_that_the_model_makes_are_read(client, say, calls):
    say(client.call_format.write(calls))
    choice = both_ways(client)
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    made = [call["function"] for call in choice["message"]["tool_calls"]]
    assert [Call(one["name"], json.loads(one["arguments"])) for one in made] == calls
    assert "東" not in str(calls) or "東" in made[1]["arguments"]


def test_what_stands_beside_a_call_is_content(client, say):
    say("Let me see. " + client.call_format.write([Call("now", {})]) + "\n")
    choice = both_ways(client)
    if client.call_format is FORMATS["hermes"]:
        assert choice["message"]["content"] == "Let me see."
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "now"
    else:  # of Llama's, a turn is a call or is none
        assert choice["message"]["content"].startswith("Let me see. {")
        assert "tool_calls" not in choice["message"] and choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.",
        '<tool_call>{"name": "now", "arguments": {}',
        '{"name": "now", "parameters": {}',
        '<tool_call>{"name": "now", "arguments": 3}</tool_call>',
        *(
            write.format(call)
            for call in ('"nobody", %: {}', '"now", %: {"a": NaN}', '"now", %: {"a": "\\ud800"}')
            for write in ("<tool_call>{{\"name\": {}}}</tool_call>", '{{"name": {}}}')
        ),
    ],
)  # fmt: skip
def test_what_is_no_call_stays_content_as_it_was_written(client, say, text):
    is_hermes = client.call_format is FORMATS["hermes"]
    text = text.replace("%", '"arguments"' if is_hermes else '"parameters"')
    say(text)
    choice = both_ways(client)
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }


def test_none_shows_tools_and_reads_no_call(client, say):
    text = client.call_format.write([Call("now", {})])
    prompts = say(text)
    for tools in (TOOLS, [tool("now", strict=True)]):
        choice = both_ways(client, tools=tools, tool_choice="none")
        assert choice["message"] == {"role": "assistant", "content": text}
        assert choice["finish_reason"] == "stop"
    parts = events(post(client, tool_choice="none", stream=True))
    assert len(parts) > 5  # as they come
    post(client, tools=None)
    post(client, tools=[])
    texts = [client.server.tokenizer.decode(prompt) for prompt in prompts]
    assert texts[0].startswith("get-weather add now u:hi")
    assert texts[-1] == texts[-2] and texts[-1].startswith("u:hi")


def test_a_call_that_a_stop_cuts_off_is_content(client, say):
    text = client.call_format.write([Call("get-weather", {"city": "Wien"})])
    say(text)
    choice = both_ways(client, stop=["Wien"])
    assert choice["message"]["content"] == text[: text.index("Wien")]
    assert choice["finish_reason"] == "stop" and "tool_calls" not in choice["message"]


def test_a_turn_that_is_cut_after_a_call_says_so(client, monkeypatch):
    async def pieces(self):
        yield client.call_format.write([Call("now", {})]), "length"

    monkeypatch.setattr(responses.Response, "pieces", pieces)
    choice = both_ways(client)
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}


def is_let_through(grammar, tokenizer, text):
    state = 0
    for token in tokenizer.encode(text):
        state = grammar.next_states[state, grammar.kinds[token]]
        if state < 0:
            return False
    return bool(grammar.accepting[state])


def test_the_arguments_of_strict_tools_are_of_their_schemas(client):
    """What the model may say with "auto": any text, and of calls those that are right."""
    tools = [tool("add", parameters=ADD, strict=True), tool("loose", parameters=WEATHER)]
    form, tokenizer = ask(True, tools=tools).form, client.server.tokenizer
    grammar = compile_form(form, tokenizer, 259)
    right, wrong = Call("add", {"a": True, "b": False}), Call("add", {"a": 1, "b": False})
    loose, nobody = Call("loose", {"x": [1]}), Call("nobody", {})
    for calls in ([right], [loose], [right, loose, right]):
        assert is_let_through(grammar, tokenizer, client.call_format.write(calls))
    for calls in ([wrong], [nobody], [right, wrong]):
        assert not is_let_through(grammar, tokenizer, client.call_format.write(calls))
    for text in ("", "It is {3} < 5.\n東", "I'd make a <tool_ call."):
        assert is_let_through(grammar, tokenizer, text)
    assert ask(True, tools=tools, tool_choice="none").form is None
    choice = both_ways(client, tools=tools, seed=1, max_tokens=30)
    assert choice["finish_reason"] in ("stop", "length", "tool_calls")


def test_a_client_runs_a_tool_and_sends_its_result_back(client, say):
    """The template sees what transformers' users write, and what a tool says is nothing but text."""
    say(client.call_format.write([Call("get-weather", {"city": "Wien"})]))
    message = choice_of(post(client))["message"]
    (call,) = message["tool_calls"]
    city = json.loads(call["function"]["arguments"])["city"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": f"{city}: <|eos|> 21"}
    prompts = say("It is 21.")
    answer = choice_of(post(client, messages=[*USER, message, result]))
    assert answer["message"] == {"role": "assistant", "content": "It is 21."}
    tokenizer = client.server.tokenizer
    called = {"name": "get-weather", "arguments": {"city": "Wien"}}
    seen = [
        *USER,
        {
            "role": "assistant",
            "tool_calls": [{"type": "function", "id": call["id"], "function": called}],
        },
        result,
    ]
    shown = [{"type": "function", "function": dict(one["function"])} for one in TOOLS]
    shown[1]["function"].pop("strict")
    expected = encode_conversation(tokenizer, seen, open_ended=True, tools=shown).token_ids
    assert prompts == [expected]
    assert expected.count(tokenizer.eos_id) == 3 and "<|eos|> 21" in tokenizer.decode(expected)
    written = client.call_format.read(tokenizer.decode(expected).partition("a:")[2].split("t:")[0])
    assert written == [Call("get-weather", {"city": "Wien"})]


@pytest.mark.parametrize("choice", ["required", named("f")])
def test_a_schema_that_is_refused_is_named(client, choice):
    tools = [tool("f", parameters=ADD | {"minProperties": 1})]
    body = {"messages": USER, "tools": tools, "tool_choice": choice}
    response = client.post(CHAT_COMPLETE, json=body)
    sentence = "The schema of tools is refused: the parameters of f: 'minProperties' is not done"
    assert response.status_code == 400 and sentence in response.text


def test_calls_in_python_are_not_forced():
    form = json.dumps({"call": TOOLS})
    with pytest.raises(ValueError, match="tools is refused: the pattern of a call .* are Python"):
        compile_form(form, tokenizer_of("python"), 259)


@pytest.mark.slow
def test_a_template_that_shows_no_tools_takes_none():
    with make_client(tiny_model()) as client:
        body = {"messages": USER, "tools": TOOLS}
        response = client.post(CHAT_COMPLETE, json=body)
        assert response.status_code == 400 and "template shows no tools" in response.text


# --- mutated requests

PARTS = {
    "tools": (
        [TOOLS, [tool("now", strict=True), *TOOLS[:2]], TOOLS[2:], [], None],
        [[5], [tool("a b")], TOOLS * 2, "x"],
    ),
    "tool_choice": (
        ["none", "auto", "required", "required", named("now"), None],
        [named("x"), named(5), 5, "any"],
    ),
    "messages": (
        [
            USER,
            [*USER, calling(CALL), RESULT],
            [*USER, calling(CALL, CALL | {"id": "é"}), RESULT, RESULT | {"tool_call_id": "é"}],
            [*USER, calling(of(name="x", arguments='{"a": "<|eos|>"}')), RESULT],
        ],
        [[RESULT], [calling(CALL)], [*USER, calling(of(arguments="x")), RESULT]],
    ),
    "parallel_tool_calls": ([True, False, None], [1]),
    "stream": ([True, False], ["x"]),
    "response_format": ([{"type": "text"}, None], [{"type": "json"}]),
    "stop": (["}", None], [5]),
}


@pytest.mark.slow
def test_mutated_requests_are_answered_or_refused(client, fuzz_cases):
    """Nothing is a 500, and a call that is required is there."""
    draw, counts = random.Random(2), collections.Counter()
    for number in range(fuzz_cases(80)):
        fields, is_good = {"max_tokens": 130, "seed": number}, True
        for name, (good, bad) in PARTS.items():
            from_good = draw.random() < 0.98
            fields[name] = draw.choice(good if from_good else bad)
            is_good &= from_good
        is_forced = fields["tool_choice"] not in ("none", "auto", None)
        is_good &= bool(fields["tools"]) or not is_forced
        body, is_whole = json.dumps(fields).encode(), draw.random() < 0.9
        if not is_whole:
            place = draw.randrange(len(body))
            body = body[:place] + bytes([draw.randrange(256)]) + body[place + 1 :]
        headers = {"Content-Type": "application/json"}
        response = client.post(CHAT_COMPLETE, content=body, headers=headers)
        counts[response.status_code] += 1
        if response.status_code != 200:
            assert response.status_code in (400, 404) and response.json()["error"]["message"]
            assert not (is_good and is_whole), (fields, response.text)
        elif is_whole:
            assert is_good, fields
            choice = streamed(response) if fields["stream"] is True else choice_of(response)
            if is_forced and fields["stop"] is None:
                counts["calls"] += 1
                check_one_call(choice, PARAMETERS)
    print(f"statuses {dict(counts)}")
    assert counts[200] and counts[400] and counts["calls"]
