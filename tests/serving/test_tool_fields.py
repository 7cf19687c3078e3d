"""What requests say of tools: fields and conversations that are taken, and those that are refused by name."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette")

from tests.serving.conftest import byte_tokenizer
from tests.serving.test_requests import USER, ask
from tests.tools.conftest import FOLDER
from tfalign.serving.requests import RefusedError
from tfalign.text import render_conversation
from tfalign.tools import Call, format_of

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Wien", "東京"]},
        "days": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        "at": {"type": "string", "format": "date"},
    },
    "required": ["city"],
    "additionalProperties": False,
}
ADD = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
    "required": ["a", "b"],
}


def tool(name, **more):
    return {"type": "function", "function": {"name": name} | more}


TOOLS = [
    tool("get-weather", description="Of a day.", parameters=WEATHER),
    tool("add", parameters=ADD, strict=False),
    tool("now"),
]


def named(name):
    return {"type": "function", "function": {"name": name}}


CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "5"}


def calling(*calls, **more):
    return {"role": "assistant", "content": None, "tool_calls": list(calls)} | more


def of(**fields):
    return CALL | {"function": CALL["function"] | fields}


def test_conversations_with_calls_are_taken():
    other = CALL | {"id": "c2"}
    messages = [
        *USER,
        calling(CALL, other),
        RESULT | {"tool_call_id": "c2"},
        RESULT,
        calling(CALL, content="Again."),
        RESULT | {"content": [{"type": "text", "text": "6"}]},
    ]
    read = ask(True, messages=messages).prompts[0]
    assert read[1] == {
        "role": "assistant",
        "tool_calls": [
            {"id": name, "type": "function", "function": {"name": "now", "arguments": {}}}
            for name in ("c1", "c2")
        ],
    }
    assert read[4]["content"] == "Again." and read[5]["content"] == "6"


@pytest.mark.parametrize("name", ["qwen25", "llama31"])
def test_published_templates_show_tools_calls_and_results(name):
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    call = of(name="get-weather", arguments='{"city":"Wien"}')
    asked = ask(True, messages=[*USER, calling(call), RESULT], tools=TOOLS)
    tokenizer = byte_tokenizer(source)
    text = render_conversation(tokenizer, asked.prompts[0], open_ended=True, tools=asked.tools)
    written = format_of(source).write([Call("get-weather", {"city": "Wien"})])
    assert written in text.partition("hi")[2] and "5" in text.partition(written)[2]
    assert '"name": "add"' in text.partition(written)[0]


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([RESULT], r"messages\[1\].tool_call_id must be the id of a call"),
        ([calling(CALL), RESULT, RESULT], r"messages\[3\].tool_call_id must be the id"),
        ([calling(CALL), RESULT | {"tool_call_id": "c2"}], r"Received: 'c2'"),
        ([calling(CALL)], "the result of the call 'c1'. Received: no more messages"),
        ([calling(CALL), *USER], r"messages\[2\] must be of the role tool.*Received: user"),
        ([calling(CALL), {"role": "tool", "tool_call_id": "c1"}], "Received: no content"),
        ([RESULT | {"tool_call_id": 5}], "tool_call_id must be a string"),
        ([RESULT | {"name": "now"}], r"messages\[1\].name' is not a field"),
        ([calling()], "Received: no content"),
        ([calling(CALL, CALL)], "must have ids of their own"),
        ([calling(CALL, role="user")], "tool_calls is not supported"),
        ([calling(5)], r"tool_calls\[0\] must be an object"),
        ([calling(CALL, tool_calls={})], "tool_calls must be a list of calls"),
        ([calling({"id": "c1"})], "must have id and type and function. Received: no type"),
        ([calling(CALL | {"type": "custom"})], "type is not supported"),
        ([calling(CALL | {"index": 0})], "index' is not a field"),
        ([calling(of(name="a b"))], "function.name must be 1 to 64"),
        ([calling(of(arguments={}))], "function.arguments must be a string"),
        ([calling(of(arguments="{"))], "arguments is not JSON"),
        ([calling(of(arguments="[]"))], "arguments must be a JSON object"),
        ([calling(of(arguments='{"a": NaN}'))], "arguments is not JSON"),
        ([calling(of(arguments='{"a": 1, "a": 2}'))], "has a name twice"),
        ([calling(of(arguments='{"a": "\\ud800"}'))], "half a surrogate pair"),
        ([calling(of(arguments='{"a":' + "[" * 40 + "]" * 40 + "}"))], "nested more than 32"),
    ],
)
def test_conversations_that_are_none(messages, sentence):
    with pytest.raises(RefusedError, match=sentence) as refused:
        ask(True, messages=[*USER, *messages])
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tools": {}}, "tools must be a list"),
        ({"tools": ["f"]}, r"tools\[0\] must be an object"),
        ({"tools": [{"type": "function"}]}, "Received: no function"),
        ({"tools": [tool("f") | {"type": "custom"}]}, r"tools\[0\].type is not supported"),
        ({"tools": [{"type": "function", "function": {}}]}, "Received: no name"),
        ({"tools": [tool("f" * 65)]}, "must be 1 to 64 of the characters"),
        ({"tools": [tool("f\n")]}, "must be 1 to 64 of the characters"),
        ({"tools": [tool("")]}, "must be 1 to 64 of the characters"),
        ({"tools": [tool("f"), tool("f")]}, "names of their own. Received: 'f' twice"),
        ({"tools": [tool(f"f{n}") for n in range(129)]}, "may have 128 functions. Received: 129"),
        ({"tools": [tool("f", description=5)]}, "description must be a string"),
        ({"tools": [tool("f", parameters=[])]}, "parameters must be an object"),
        ({"tools": [tool("f", parameters={})]}, 'must be a JSON schema of "type": "object"'),
        ({"tools": [tool("f", strict="yes")]}, "strict must be true or false"),
        ({"tools": [tool("f", returns={})]}, "returns' is not a field"),
        ({"tools": TOOLS, "tool_choice": "any"}, "must be one of none, auto, required"),
        ({"tools": TOOLS, "tool_choice": ["auto"]}, "must be one of none, auto, required"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "Received: no function"),
        ({"tools": TOOLS, "tool_choice": named("nobody")}, "must name one of tools.*'nobody'"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "type is not supported"),
        ({"tool_choice": "required"}, "tool_choice is of tools.*no tools"),
        ({"tools": [], "tool_choice": named("now")}, "tool_choice is of tools.*no tools"),
        *(
            (
                {"tools": TOOLS, "tool_choice": choice, "response_format": {"type": "json_object"}},
                "response_format is not done beside tools that may be called",
            )
            for choice in ("required", named("now"), "auto", None)
        ),
    ],
)
def test_fields_that_are_refused(fields, sentence):
    with pytest.raises(RefusedError, match=sentence) as refused:
        ask(True, **fields)
    assert refused.value.status == 400


def test_what_is_neutral():
    plain = ask(True)
    assert ask(True, tools=[], tool_choice="auto", parallel_tool_calls=False) == plain
    assert ask(True, tool_choice="none") == plain
    auto = ask(True, tools=TOOLS)
    assert ask(True, tools=TOOLS, tool_choice="auto", response_format={"type": "text"}) == auto
    schema = {"type": "json_object"}
    assert ask(True, tools=TOOLS, tool_choice="none", response_format=schema).form
