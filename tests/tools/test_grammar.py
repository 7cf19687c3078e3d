"""What a pattern of calls lets through is read as one call of one of the tools, with arguments of its schema."""

from __future__ import annotations

import random

import jsonschema
import pytest

pytest.importorskip("outlines_core")

from tests.random_texts import random_texts
from tests.text.test_json_patterns import random_schema
from tfalign.text.byte_automata import compile_pattern
from tfalign.tools import FORMATS, Call, call_pattern, turn_pattern

MARKS = "</tool_call><tool_call>"
MARKED = {
    "type": "object",
    "properties": {"t": {"enum": [MARKS, '"}' + MARKS, "<|python_tag|>"]}, "; {": {"const": MARKS}},
    "required": ["t", "; {"],
}


def tool(name, parameters=None):
    function = {"name": name} | ({} if parameters is None else {"parameters": parameters})
    return {"type": "function", "function": function}


def random_parameters(draw):
    schema = random_schema(draw)
    while schema.get("type") != "object":
        schema = random_schema(draw)
    return schema


@pytest.mark.parametrize("name", ["hermes", "llama"])
def test_what_matches_is_one_call_of_one_of_the_tools(name, fuzz_cases):
    draw, checked, names = random.Random(0), 0, set()
    for _ in range(fuzz_cases(20)):
        of = {"get-it": random_parameters(draw), "B_2": random_parameters(draw), "m": MARKED}
        schemas = [tool(*one) for one in draw.sample(sorted(of.items()), draw.randrange(1, 4))]
        schemas.append(tool("now"))
        try:
            texts = list(random_texts(call_pattern(schemas, FORMATS[name]), draw, 8, longest=150))
        except ValueError as error:
            assert "nothing of bounded depth" in str(error)
            continue
        known = {one["function"]["name"] for one in schemas}
        for text in texts:
            (call,) = FORMATS[name].read(text)
            assert isinstance(call, Call) and call.name in known, text
            jsonschema.validate(call.arguments, of.get(call.name, {"maxProperties": 0}))
            assert FORMATS[name].beside(text) == ""
            names.add(call.name)
            checked += 1
    assert checked > 50 and names == {"get-it", "B_2", "m", "now"}


@pytest.mark.parametrize("name", ["hermes", "llama"])
def test_what_the_format_writes_matches(name):
    schemas = [tool("add", {"type": "object", "properties": {"a": {"type": "integer"}}})]
    is_whole = accepts(call_pattern(schemas, FORMATS[name]))
    for arguments, is_one in (({"a": 1}, True), ({}, True), ({"a": "1"}, False), ({"b": 1}, False)):
        assert is_whole(FORMATS[name].write([Call("add", arguments)])) == is_one, arguments


def accepts(pattern):
    """``text -> bool``."""
    steps, may_end = compile_pattern(pattern)

    def is_whole(text):
        state = 0
        for byte in text.encode():
            state = steps[state, byte] if state >= 0 else -1
        return bool(state >= 0 and may_end[state])

    return is_whole


@pytest.mark.parametrize("name", ["hermes", "llama"])
def test_in_a_turn_all_calls_are_right(name, fuzz_cases):
    """Texts out of parts of calls: what is let through has right calls alone; what has none is let through."""
    call_format, draw, counts = FORMATS[name], random.Random(0), [0, 0, 0]
    bools = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    is_whole = accepts(turn_pattern([tool("f", bools), tool("now")], call_format))
    right = [call_format.write([Call("f", {"a": True})]), call_format.write([Call("now", {})])]
    wrong = [
        call_format.write([Call(*one)]) for one in (("f", {"a": 1}), ("g", {}), ("now", {"x": 1}))
    ]
    parts = ["<", "<tool", "<tool_cal", "l>", "_call>", ">", "{", "}", "; ", "\n", " ", "é", "\x1c"]
    parts += ["<tool_call>", "</tool_call>", "<|python_tag|>", '"name"', *wrong, *right * 3]
    for _ in range(fuzz_cases(4_000)):
        text = "".join(draw.choices(parts, k=draw.randrange(5)))
        calls = call_format.read(text)
        is_right = all(
            isinstance(call, Call)
            and call.name in ("f", "now")
            and jsonschema.Draft202012Validator(
                bools if call.name == "f" else {"maxProperties": 0}
            ).is_valid(call.arguments)
            for call in calls
        )
        if is_whole(text):
            assert is_right, text
            counts[0 if calls else 1] += 1
        elif name == "hermes":
            assert calls, text
        elif not calls:
            assert text[0] in " \n\x1c{<", text
        counts[2] += not is_right
    assert min(counts) > 100


@pytest.mark.parametrize(
    ("schemas", "name", "sentence"),
    [
        ([], "hermes", "A call is of a tool"),
        ([tool("f")], "python", r"the model's calls are Python \(PythonFormat\)"),
        ([tool("f", {"type": "string"})], "llama", 'parameters of f are of "type": "object"'),
        ([tool("f", {})], "llama", 'parameters of f are of "type": "object"'),
        (
            [tool("f"), tool("g", {"type": "object", "minProperties": 1})],
            "hermes",
            "the parameters of g: 'minProperties' is not done",
        ),
    ],
)
def test_what_has_no_pattern(schemas, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        call_pattern(schemas, FORMATS[name])
    with pytest.raises(ValueError, match=sentence):
        turn_pattern(schemas, FORMATS[name])
