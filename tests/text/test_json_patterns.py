"""Schemas as regular expressions: what they say is JSON of the schema, judged by ``json`` and ``jsonschema``."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest

pytest.importorskip("outlines_core")

from tests.random_texts import random_texts
from tfalign.text.byte_automata import compile_pattern
from tfalign.text.json_patterns import any_json, json_pattern

LIST = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
            "required": ["v"],
        }
    },
    "$ref": "#/$defs/node",
}


def random_schema(draw, deep=2):
    """A schema out of all that is done; some of them hold nothing."""
    inner = lambda: random_schema(draw, deep - 1)  # noqa: E731
    kinds = ["string", "number", "scalar", "enum"] + ["array", "tuple", "object", "any_of"] * (
        deep > 0
    )
    kind, least = draw.choice(kinds), draw.randrange(3)
    bounds = {"minItems": least, "maxItems": least + draw.randrange(3)}
    bounds = dict(draw.sample(sorted(bounds.items()), draw.randrange(3)))
    if kind == "string":
        return draw.choice(
            [
                {"type": "string", "minLength": least, "maxLength": least + 2},
                {"type": "string", "format": draw.choice(["date", "time", "date-time", "uuid"])},
                {
                    "type": "string",
                    "pattern": draw.choice(["^[a-c]{2}\\d$", "(a|b-)+", "x\\.[.-]"]),
                },
                {"maxLength": 3},
            ]
        )
    if kind == "number":
        return random_bounds(draw) | {
            "type": draw.choice(["integer", "number", ["null", "integer"]])
        }
    if kind == "scalar":
        return draw.choice([{"type": "boolean"}, {"const": None}, {"const": [1, {"a": 'b"'}]}, {}])
    if kind == "enum":
        return {"enum": draw.sample([1, 2.5, "a", 'q"\\', "é\n🙂", None, True, {}], 3)}
    if kind == "array":
        return {"type": "array", "items": inner()} | bounds
    if kind == "tuple":
        rest = {"items": draw.choice([False, inner()])}
        return {"type": "array", "prefixItems": [inner(), inner()]} | bounds | rest
    if kind == "any_of":
        return {"anyOf": [inner(), inner()]}
    properties = {name: inner() for name in draw.sample(["a", 'b"', "c.c", "d"], draw.randrange(4))}
    required = [name for name in properties if draw.random() < 0.5]
    more = {"additionalProperties": draw.choice([False, True] + ([] if properties else [inner()]))}
    return {"type": "object", "properties": properties, "required": required} | more


def random_bounds(draw):
    """Bounds of numbers, which some integer lies within."""
    low = draw.choice([-1000, -7, 0, 2, 10**15]) + draw.choice([-0.1, 0, 0.25, 1e-9])
    high = low + draw.choice([1, 1.5, 9.9, 100, 12345])
    bounds = {
        "title": "n",
        draw.choice(["minimum", "exclusiveMinimum"]): low,
        draw.choice(["maximum", "exclusiveMaximum"]): high + 0.1,
    }
    return dict(draw.sample(sorted(bounds.items()), draw.randrange(4)))


def test_what_random_schemas_let_through_is_theirs(fuzz_cases):
    draw, checked = random.Random(0), 0
    judges = {"format_checker": jsonschema.Draft202012Validator.FORMAT_CHECKER}
    for _ in range(fuzz_cases(60)):
        schema = random_schema(draw)
        judge = jsonschema.Draft202012Validator(schema, **judges)
        try:
            texts = list(random_texts(json_pattern(schema), draw, 10, longest=60))
        except ValueError as error:
            assert "nothing of bounded depth" in str(error), schema
            continue
        for text in texts:
            judge.validate(json.loads(text))
            checked += 1
    assert checked > 300


@pytest.mark.parametrize(
    ("schema", "texts", "others"),
    [
        ({"type": "number"}, ["0", "-1.50", "2e9", "1.5E-3"], ["01", "1.", ".5", "+1", "1e999"]),
        ({"type": "string"}, ['"a é 🙂"', '"\\n\\""'], ['"', '"a', '"\n"', '"\\x"']),
        (
            {"type": "array", "items": {"const": 1}, "minItems": 1},
            ["[1]", "[1, 1,1]"],
            ["[]", "[1,]"],
        ),
        (
            {"prefixItems": [{"const": 1}, {"const": 2}], "items": {"const": 3}, "maxItems": 3},
            ["[]", "[1]", "[1,2]", "[1,2,3]"],
            ["[2]", "[1,2,3,3]", "[1,3]"],
        ),
        (
            {
                "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}},
                "required": ["b"],
            },
            ['{"b":2}', '{"a":1,"b": 2}', '{"b":2, "c":3}', '{"a":1,"b":2,"c":3}'],
            ["{}", '{"a":1}', '{"a":1,}', '{,"b":2}', '{"c":3,"b":2}'],
        ),
        (LIST, ['{"v":1}', '{"v":1,"next":{"v":2,"next":{"v":3}}}'], ['{"next":{"v":1}}']),
        ({"const": "a", "type": ["string", "null"]}, ['"a"'], ["null"]),
        (True, ["null", '{"a": [1,false]}'], ["", "nul", '{"a": [{"b": 1}]}']),
    ],
    ids=str,
)
def test_what_is_let_through(schema, texts, others):
    steps, may_end = compile_pattern(json_pattern(schema))
    for text in (*texts, *others):
        state = 0
        for byte in text.encode():
            state = steps[state, byte] if state >= 0 else -1
        assert (state >= 0 and bool(may_end[state])) == (text in texts), text


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"type": "integer", "multipleOf": 3}, "'multipleOf' is not done"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no integer.* within .*'maximum': 2"),
        ({"exclusiveMinimum": 1e-20, "maximum": 2e-20}, "no decimal of 15 digits, within"),
        ({"minimum": float("inf")}, "minimum is a number: inf"),
        ({"type": "number", "exclusiveMaximum": True}, "exclusiveMaximum is a number: True"),
        ({"oneOf": [{}]}, "'oneOf' is not done"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems' is not done"),
        ({"$ref": "#/$defs/a", "type": "string"}, "'type' beside \\$ref is not done"),
        ({"$ref": "#/$defs/a"}, "there is nothing at \\$ref"),
        ({"$ref": "http://a.example"}, "begins with #"),
        ({"$ref": "#"}, "nothing of bounded depth"),
        ({"type": "text"}, "type is of null, boolean"),
        ({"type": "object", "required": ["a"]}, "required has 'a', which properties has not"),
        ({"properties": {"a": {}}, "additionalProperties": {}}, "beside properties is not done"),
        ({"type": "string", "format": "email"}, "format is one of date, time"),
        ({"type": "string", "pattern": "a)|(b"}, "pattern is none"),
        ({"type": "string", "pattern": '[^"]*'}, "plain characters"),
        ({"type": "string", "pattern": "(?i)a"}, "plain characters"),
        ({"type": "string", "pattern": "a", "minLength": 2}, "beside another is not done"),
        ({"type": "string", "minLength": -1}, "minLength is a whole number: -1"),
        ({"type": "string", "minLength": 2, "maxLength": 1}, "minLength is above maxLength"),
        ({"enum": 5}, "enum is a list of values: 5"),
        ({"const": float("inf")}, "not JSON compliant"),
        ({"anyOf": []}, "anyOf is a list"),
        ({"properties": []}, "properties is an object"),
        ({"required": "a"}, "required is a list"),
        ({"properties": {"a": {}}, "required": [["a"]]}, "required is a list of names"),
        ({"type": [["string"]]}, "type is of null"),
        ({"type": "string", "format": ["date"]}, "format is one of"),
        ({"minItems": None}, "minItems is a whole number: None"),
        ({"maxLength": True}, "maxLength is a whole number: True"),
        (False, "nothing of bounded depth"),
        (5, "a schema is an object, true or false: 5"),
    ],
    ids=str,
)
def test_what_would_have_to_be_ignored_is_refused(schema, sentence):
    with pytest.raises(ValueError, match=sentence):
        json_pattern(schema)


def test_a_chain_of_references_without_an_end():
    chain = {f"d{n}": {"items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(2_000)}
    with pytest.raises(ValueError, match="nested too deep"):
        json_pattern({"$defs": chain, "$ref": "#/$defs/d0"})


def test_a_text_may_go_on_where_it_may_end():
    """The library itself loses the step at a comma."""
    steps, may_end = compile_pattern("[0-9]{2,5}(,[0-9]+)*")
    state = 0
    for byte in b"12,345":
        state = steps[state, byte]
    assert state >= 0 and may_end[state]


@pytest.mark.parametrize("pattern", ["a)(?:b", "(", "ab$|c", "[a&&b]"])
def test_patterns_that_are_none(pattern):
    with pytest.raises(ValueError, match="The pattern is refused: .* Received: "):
        compile_pattern(pattern)


def test_objects_of_all_kinds_have_few_states():
    steps, _ = compile_pattern(any_json("object", 3))
    assert len(steps) < 600
