"""How calls are written and read, in the formats of published models."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfalign.tools import FORMATS, BadCall, Call, format_of
from tfalign.tools.formats import HermesFormat, LlamaFormat, PythonFormat

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("true", "false", "none") and not __import__("keyword").iskeyword(name)
)
LETTERS = st.characters(exclude_categories=["Cs"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LETTERS, max_size=12)
    | st.sampled_from(
        ["</tool_call>", '"}<tool_call>', "<tool_call>{}</tool_call>", "<|python_tag|>"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(LETTERS, max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
CALLS = st.lists(
    st.builds(Call, NAMES, st.dictionaries(NAMES, VALUES, max_size=3)), min_size=1, max_size=3
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@given(calls=CALLS)
def test_what_is_written_is_read(name, calls):
    assert FORMATS[name].read(FORMATS[name].write(calls)) == calls


@pytest.mark.parametrize("name", FORMATS)
@given(
    text=st.text(
        st.sampled_from('{}[]()<>/|"\\=:;,. \ntool_callnameargumentsparameters019-_'), max_size=60
    )
)
def test_no_text_breaks_a_reader(name, text):
    for call in FORMATS[name].read(text):
        assert isinstance(call, Call | BadCall)


# of the models' own cards: Qwen 2.5, Llama 3.1 and Llama 3.2
PUBLISHED = [
    (
        "hermes",
        'I will look.\n<tool_call>\n{"name": "get_current_temperature", "arguments": {"location": "San Francisco, CA, USA"}}\n'
        '</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        [
            Call("get_current_temperature", {"location": "San Francisco, CA, USA"}),
            Call("now", {}),
        ],
    ),
    (
        "llama",
        '<|python_tag|>{"name": "get_current_conditions", "parameters": {"location": "San Francisco, CA", "unit": "F"}}',
        [Call("get_current_conditions", {"location": "San Francisco, CA", "unit": "F"})],
    ),
    (
        "python",
        "[get_user_info(user_id=7890, special='black')]",
        [Call("get_user_info", {"user_id": 7890, "special": "black"})],
    ),
]


@pytest.mark.parametrize(("name", "text", "calls"), PUBLISHED)
def test_published_examples(name, text, calls):
    assert FORMATS[name].read(text) == calls


@pytest.mark.parametrize(
    ("call_format", "text", "problem"),
    [
        (HermesFormat(), "<tool_call>{</tool_call>", "it is not JSON"),
        (HermesFormat(), "<tool_call>[1]</tool_call>", 'no object with a "name"'),
        (HermesFormat(), '<tool_call>{"name": 1}</tool_call>', 'no object with a "name"'),
        (HermesFormat(), '<tool_call>{"name": "a", "arguments": 3}', '"arguments" are no object'),
        (HermesFormat(), "<tool_call>" + "[" * 100_000, "it is not JSON"),
        (LlamaFormat(), '{"name": "a", "parameters": ', "it is not JSON"),
        (PythonFormat(), "[f(1)]", "by name"),
        (PythonFormat(), "[f(**x)]", "by name"),
        (PythonFormat(), "[f(a=open)]", "not a literal"),
        (PythonFormat(), "[f(a=1", "not a list of calls"),
        (PythonFormat(), "[f(a=" + "(" * 5000, "not a list of calls"),
    ],
)
def test_a_bad_call_says_what_is_wrong(call_format, text, problem):
    (call,) = call_format.read(text)
    assert isinstance(call, BadCall) and problem in call.problem


def test_what_a_turn_says_beside_its_calls():
    call = '<tool_call>{"name": "f", "arguments": {"a": "</tool_call>"}}</tool_call>'
    text = f" Let me see. {call}\n{call} Wait. <tool_call> {{}}"
    assert HermesFormat().beside(text) == "Let me see.\nWait."
    assert [type(one) for one in HermesFormat().read(text)] == [Call, Call, BadCall]
    assert HermesFormat().beside("It is 3.") == "It is 3."
    assert LlamaFormat().beside('{"name": "a", "parameters": {}}') == ""


@pytest.mark.parametrize("call_format", FORMATS.values())
@pytest.mark.parametrize(
    "answer", ["It is 3.", "", "{}", "[1, 2]", "f(x) = 3", json.dumps({"a": 1})]
)
def test_an_answer_is_no_call(call_format, answer):
    assert call_format.read(answer) == []


def test_the_format_is_the_templates(templates):
    of = {name: type(format_of(text)).__name__ for name, text in templates.items()}
    assert (of["qwen25"], of["qwen3"]) == ("HermesFormat", "HermesFormat")
    assert of["llama31"] == "LlamaFormat"
    assert of["chatml"] == "HermesFormat"
    assert isinstance(format_of(None), HermesFormat)
