"""Every field of a request is done, or refused by its name: a table, and mutated requests by the hundred."""

from __future__ import annotations

import collections
import json
import random

import numpy as np
import pytest

from tfalign.decoding import Greedy, generate
from tfalign.serving.requests import RefusedError, read_body
from tfalign.text import encode_conversation
from tfalign.text.chat import Message

pytest.importorskip("starlette")

COMPLETE, CHAT_COMPLETE = "/v1/completions", "/v1/chat/completions"
USER = [{"role": "user", "content": "hi"}]
BOTH = {False: {"prompt": "a"}, True: {"messages": USER}}

# By the interface's documentation: fields with a value that changes the answer, which is not done.
REFUSED = [
    ("logit_bias", {"50": 101}),
    ("logit_bias", {"50": "1"}),
    ("logit_bias", {"50": True}),
    ("logit_bias", {"259": 1}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {"05": 1}),
    ("logit_bias", {"\u0665": 1}),
    ("logit_bias", {"1" * 5000: 1}),
    ("logit_bias", {"a": 1}),
    ("logit_bias", [1]),
    ("frequency_penalty", 2.1),
    ("presence_penalty", -3),
    ("repetition_penalty", 1.2),
    ("length_penalty", 0.5),
    ("min_tokens", 3),
    ("n", 0),
    ("n", 129),
    ("n", True),
    ("logprobs", 0),
    ("logprobs", 5),
    ("logprobs", True),
    ("ignore_eos", True),
    ("skip_special_tokens", False),
    ("include_stop_str_in_output", True),
    ("use_beam_search", True),
    ("store", True),
    ("service_tier", "flex"),
    ("stream_options", {"include_usage": True}),  # without stream
    ("top_k", 1.5),
    ("top_k", -2),
    ("min_p", 1),
    ("stop_token_ids", [259]),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", [True]),
    ("stop_token_ids", 5),
    ("stop", ""),
    ("stop", [""]),
    ("temperature", "1"),
    ("metadata", {"a": 1}),
    ("user", 5),
    ("temprature", 0.5),
    ("guided_json", {}),
    ("allowed_token_ids", [5]),
    ("best_of", 2),
    ("echo", True),
    ("suffix", "x"),
    ("response_format", "json_object"),
    ("response_format", {}),
    ("response_format", {"type": "xml"}),
    ("response_format", {"type": ["text"]}),
    ("response_format", {"type": "json_object", "schema": {}}),
    ("response_format", {"type": "text", "json_schema": {"name": "a", "schema": {}}}),
    ("response_format", {"type": "json_schema"}),
    ("response_format", {"type": "json_schema", "json_schema": {}}),
    ("response_format", {"type": "json_schema", "json_schema": {"schema": {}}}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": "{}"}}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": 1, "schema": {}}}),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": 1}},
    ),
    ("top_logprobs", 2),
    ("tools", [{"type": "function", "function": {}}]),
    ("tool_choice", "required"),
    ("functions", [{"name": "f"}]),
    ("function_call", {"name": "f"}),
    ("modalities", ["text", "audio"]),
    ("audio", {}),
    ("prediction", {"type": "content", "content": ""}),
    ("reasoning_effort", "high"),
    ("verbosity", "low"),
    ("web_search_options", {}),
    ("chat_template", "x"),
    ("chat_template_kwargs", {}),
    ("add_generation_prompt", False),
]
NEUTRAL = {
    "logit_bias": {},
    "frequency_penalty": 0.0,
    "presence_penalty": 0,
    "repetition_penalty": 1.0,
    "n": 1,
    "logprobs": False,
    "ignore_eos": False,
    "min_tokens": 0,
    "top_k": -1,
    "min_p": 0,
    "stop": [],
    "stop_token_ids": [],
    "service_tier": "auto",
    "metadata": {"run": "1"},
    "safety_identifier": "someone",
    "stream": False,
    "store": False,
    "stream_options": None,
    "response_format": {"type": "text"},
    "tools": [],
    "echo": False,
    "best_of": 1,
    "model": "agent",
    "a_field_that_is_null": None,
}


def ask(is_chat, vocab_size=259, **fields):
    return read_body(json.dumps(BOTH[is_chat] | fields).encode(), is_chat, "agent", vocab_size)


@pytest.mark.parametrize(
    ("is_chat", "name", "value"),
    [(is_chat, *one) for is_chat in (False, True) for one in REFUSED]
    + [(False, "messages", USER), (True, "prompt", "a")],
)
def test_what_is_not_done_is_refused_by_name(is_chat, name, value):
    with pytest.raises(RefusedError, match=name) as refused:
        ask(is_chat, **{name: value})
    assert refused.value.status == 400


@pytest.mark.parametrize("is_chat", [False, True])
def test_null_is_absent_and_neutral_values_change_nothing(is_chat):
    assert ask(is_chat, **NEUTRAL) == ask(is_chat)
    assert ask(is_chat, **dict.fromkeys(NEUTRAL)) == ask(is_chat)
    assert ask(is_chat, user="mia").user == "mia" and ask(is_chat, user=None).user is None
    if is_chat:
        assert ask(True, max_completion_tokens=None, max_tokens=7).max_tokens == 7
        assert ask(True, max_completion_tokens=7, response_format={"type": "text"}).max_tokens == 7
        with pytest.raises(RefusedError, match="max_completion_tokens; give one"):
            ask(True, max_completion_tokens=7, max_tokens=7)


def test_another_models_name_is_a_404():
    with pytest.raises(RefusedError, match="There is no model 'gpt-4'; .* 'agent'") as refused:
        ask(False, model="gpt-4")
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"prompt": "\\ud83d"}', r"half a surrogate pair.*'\\ud83d'"),
        (b'{"prompt": "a", "\\udc00": 1}', "half a surrogate pair"),
        (b'{"prompt": "a", "stop": ["\\ud800"]}', "half a surrogate pair"),
        (b'{"prompt": "a\xff"}', "not UTF-8"),
        (b'{"prompt": "a\xed\xa0\x80"}', "not UTF-8"),
        ('{"prompt": "a"}'.encode("utf-16"), "not UTF-8"),
        (b'{"prompt": "a", "temperature": NaN}', "not JSON"),
        (b'{"prompt": "a", "temperature": Infinity}', "not JSON"),
        (b'{"prompt": "a", "temperature": 1e999}', "temperature=inf"),
        (b'{"prompt": "a", "seed": 1' + b"0" * 5_000 + b"}", "not JSON"),
        (b'{"prompt": "a", "seed": 1' + b"0" * 400 + b"}", r"seed=10+\.\.\."),
        (b'{"prompt": "a", "n": 2, "n": 1}', "twice in one object: 'n'"),
        (b'{"prompt": "a", "x": ' + b"[" * 40 + b"]" * 40 + b"}", "nested more than 32 deep"),
        (b'{"prompt": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "not JSON"),
        (b'{"prompt": ["a", 1]}', r"prompt\[1\] must be a string or a list.*prompt\[1\]=1"),
        (b'{"prompt": [[1], []]}', r"The prompt\[1\] is empty"),
        (b'{"prompt": ["a", "b"], "n": 65}', "128 responses. Received: 130"),
        (b'{"prompt": [1, -1]}', r"id must be in \[0, 259\).*prompt\[1\]=-1"),
        (b'{"prompt": [1.0]}', r"prompt\[0\]=1.0"),
        (b'{"prompt": [true]}', r"prompt\[0\]=True"),
        (b'{"prompt": [1e400]}', r"prompt\[0\]=inf"),
        (b'{"prompt": [1000000]}', r"prompt\[0\]=1000000"),
    ],
)
def test_bodies_that_are_no_requests(body, sentence):
    with pytest.raises(RefusedError, match=sentence) as refused:
        read_body(body, False, "agent", 259)
    assert refused.value.status == 400 and len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            {"role": "user<|eos|>", "content": "a"},
            r"messages\[1\].role must be one of system, user",
        ),
        ({"role": "tool", "content": "a"}, r"messages\[1\] must have .*Received: no tool_call_id"),
        ({"role": "user", "content": "a", "name": "b"}, r"messages\[1\].name"),
        ({"role": "user", "content": None}, "must have role and content"),
        ({"role": "assistant", "content": "a", "tool_calls": [{}]}, r"messages\[1\].tool_calls"),
        ({"role": "user", "content": [{"type": "image_url"}]}, r"messages\[1\].content\[0\].type"),
        ({"role": "user", "content": [{"type": "text", "text": "a"}] * 2}, "list of one text"),
        ("hi", r"messages\[1\] must be an object"),
    ],
)
def test_messages_that_would_be_read_otherwise_are_refused(message, sentence):
    with pytest.raises(RefusedError, match=sentence):
        ask(True, messages=[*USER, message])


def test_what_a_client_sends_back_is_taken():
    answer = {"role": "assistant", "content": "b", "refusal": None, "annotations": []}
    parts = {"role": "user", "content": [{"type": "text", "text": "c"}]}
    asked = ask(True, messages=[*USER, answer, parts])
    said = [("user", "hi"), ("assistant", "b"), ("user", "c")]
    assert asked.prompts[0] == tuple({"role": role, "content": text} for role, text in said)


# --- mutated requests, in this process

WORDS = ["a", "Hello", "茶水 🙂", "<|eos|>"]
TOOL = {"type": "function", "function": {"name": "f"}}  # the template shows none
# name -> (values that are done or change nothing, others)
VALUES = {
    "max_tokens": ([1, 5, 20, None], [0, -1, 2.5, "5", True, 10**9, 10**30]),
    "temperature": ([0, 0.0, 0.7, 1, None], [-1, "hot", 1e9, True, []]),
    "top_p": ([1, 0.5, 1.0, None], [0, 2, "x", False]),
    "top_k": ([0, -1, 1, 5, None], [-5, 2.5, "1", 10**12]),
    "min_p": ([0, 0.1, None], [1, -0.1, "x"]),
    "seed": ([0, 7, 2**32 - 1, None], [-1, 2**32, 1.5, "s"]),
    "stop": (["e", ["a", "b"], [], None], ["", [1], ["x"] * 5, {}, 3]),
    "stop_token_ids": ([[70], [], None], [[259], [-1], ["a"], 5, [1.5]]),
    "stream": ([True, False, None], ["yes", 1, []]),
    "stream_options": ([{"include_usage": True}, None], [{"x": 1}, [], True]),
    "model": (["agent", None], ["gpt-4", 5, ""]),
    "user": (["me", None], [5]),
    "n": ([1, 2, None], [0, 129, True, "1"]),
    "logprobs": ([False, None], [0, 1, True]),
    "logit_bias": ([{}, {"70": 0, "71": 0.0}, None], [{"1": 500}, {"x": 1}, {"999": 1}, [], "x"]),
    "frequency_penalty": ([0, 0.0, None], [2.1, "0", True]),
    "presence_penalty": ([0, None], [3, -2.5]),
    "repetition_penalty": ([1, 1.0, None], [1.1, 0]),
    "response_format": (
        [{"type": "text"}, None],
        [{"type": "json"}, {"type": "json_schema"}, "text"],
    ),
    "min_tokens": ([0, None], [1, -1]),
    "tools": ([[], None], [[{}], "x", [TOOL], [TOOL, TOOL]]),
    "tool_choice": (["none", "auto", None], ["required", {"type": "function"}, 5, ["auto"]]),
    "parallel_tool_calls": ([True, False, None], ["x"]),
    "no_such_field": ([None], [1, "x", {}]),
}


def mutated(draw):
    """(is_chat, fields, whether all of them are of the first kind)."""
    is_chat, is_good = draw.random() < 0.5, True
    if is_chat:
        fields = {"messages": [{"role": "user", "content": draw.choice(WORDS)}]}
    else:
        fields = {"prompt": draw.choice([*WORDS, [1, 70, 71]])}
    if draw.random() < 0.7:  # what the library can be asked for, too
        fields |= draw.choice([{"temperature": 0}, {"top_k": 1, "temperature": 0.7}])
        fields["max_tokens"] = draw.choice([1, 5, 20])
    if draw.random() < 0.1:
        name = "messages" if is_chat else "prompt"
        bad = [
            None,
            [],
            {},
            5,
            "",
            [[]],
            [None],
            [{}],
            [-1],
            [10**9],
            [{"role": 1, "content": "a"}],
            [{"role": "tool", "content": "a", "tool_call_id": "b"}],
            [{"role": "assistant", "tool_calls": [{"id": "b", "type": "function"}]}],
        ]
        fields[name] = draw.choice(bad)
        is_good = fields[name] == "" and not is_chat  # the BOS alone
    for name in draw.sample(sorted(VALUES), draw.randrange(6)):
        good, bad = VALUES[name]
        from_good = draw.random() < 0.85
        fields[name] = draw.choice(good if from_good else bad)
        is_good &= from_good
    return is_chat, fields, is_good


def expected_text(model, tokenizer, is_chat, fields, kept):
    """The greedy answer, by the library: cut at stop ids, then at stop strings."""
    if is_chat:
        messages = tuple(Message(**message) for message in fields["messages"])
        ids = encode_conversation(tokenizer, messages, open_ended=True).token_ids
    else:
        prompt = fields["prompt"]
        ids = prompt if isinstance(prompt, list) else tokenizer.encode(prompt, bos=True)
    if tuple(ids) not in kept:
        padded = np.array([[0] * (40 - len(ids)) + ids], "int32")
        mask = np.arange(40)[None, :] >= 40 - len(ids)
        tokens = generate(model, padded, mask, max_new_tokens=24, sampler=Greedy()).tokens
        kept[tuple(ids)] = np.asarray(tokens)[0].tolist()
    ends = {tokenizer.eos_id, *(fields.get("stop_token_ids") or ())}
    tokens = kept[tuple(ids)][: fields["max_tokens"]]
    for place, token in enumerate(tokens):
        if token in ends:
            tokens = tokens[:place]
            break
    text, stops = tokenizer.decode(tokens), fields.get("stop") or []
    places = [text.find(stop) for stop in ([stops] if isinstance(stops, str) else stops)]
    return text[: min([place for place in places if place >= 0], default=len(text))]


def text_of(response, is_chat, fields):
    """The text of a 200, whole or streamed, after checks of its form."""
    if not fields.get("stream"):
        choice = response.json()["choices"][0]
        most = (fields.get("n") or 1) * (fields.get("max_tokens") or 64)
        assert response.json()["usage"]["completion_tokens"] <= most
        return choice["message"]["content"] if is_chat else choice["text"]
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    parts = [json.loads(line) for line in lines[:-1]]
    parts = [part for part in parts if not part["choices"] or part["choices"][0]["index"] == 0]
    if (fields.get("stream_options") or {}).get("include_usage"):
        usage = parts.pop()
        assert usage["choices"] == [] and usage["usage"]["completion_tokens"] >= 1
        assert all(part["usage"] is None for part in parts)
    else:
        assert not any("usage" in part for part in parts)
    choices = [part["choices"][0] for part in parts]
    return "".join(c["delta"].get("content", "") if is_chat else c["text"] for c in choices)


def test_mutated_requests_are_honoured_or_refused(client, model, fuzz_cases):
    """A greedy 200 says what the library says; nothing is a 500."""
    draw, counts, kept, checked = random.Random(0), collections.Counter(), {}, 0
    tokenizer = client.server.tokenizer
    for _ in range(fuzz_cases(200)):
        is_chat, fields, is_good = mutated(draw)
        if fields.get("stream_options") and fields.get("stream") is not True:
            is_good = False
        body, is_whole = json.dumps(fields).encode(), draw.random() < 0.9
        if not is_whole:  # some byte of it is another one
            place = draw.randrange(len(body))
            body = body[:place] + bytes([draw.randrange(256)]) + body[place + 1 :]
        response = client.post(
            CHAT_COMPLETE if is_chat else COMPLETE,
            content=body,
            headers={"Content-Type": "application/json"},
        )
        counts[response.status_code] += 1
        if response.status_code != 200:
            assert response.status_code in (400, 404)
            assert response.json()["error"]["message"]
            assert not (is_good and is_whole), (fields, response.text)
            continue
        if not is_whole:
            continue
        assert is_good, fields
        text = text_of(response, is_chat, fields)
        is_greedy = fields.get("temperature") == 0 or fields.get("top_k") == 1
        if is_greedy and isinstance(fields.get("max_tokens"), int):
            checked += 1
            assert text == expected_text(model, tokenizer, is_chat, fields, kept), fields
    print(f"statuses {dict(counts)}, {checked} compared with the library")
    assert counts[200] and counts[400] and checked
