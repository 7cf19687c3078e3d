"""Tools that do what they should not: each is told to the model, and the next call works."""

from __future__ import annotations

import os
import time

import pytest

from tfalign.tools import BadCall, Call, Result, Toolbox


def work(how: str, count: int = 1) -> str:
    """Does what it is told.

    Args:
        how: what to do.
        count: how often.
    """
    if how == "hang":
        time.sleep(600)
    if how == "raise":
        raise KeyError("no such key")
    if how == "exit":
        os._exit(3)
    if how == "large":
        return "x" * 10_000_000
    if how == "bytes":
        return b"caf\xc3\xa9 \xff"
    if how == "surrogate":
        return "a\ud800b"
    if how == "object":
        return {"a": [1, None, 2.5]}
    if how == "odd":
        return work
    return how * count


@pytest.fixture(scope="module")
def box():
    with Toolbox([work], timeout=1.0, max_characters=50) as box:
        yield box


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("ab", Result("ab", True)),
        ("hang", Result("Error: work took longer than 1 seconds", False)),
        ("raise", Result("Error: KeyError: 'no such key'", False)),
        ("exit", Result("Error: the function ended its process", False)),
        ("large", Result("x" * 50 + " ... (9999950 more characters)", True)),
        ("bytes", Result("caf\u00e9 \ufffd", True)),
        ("surrogate", Result("a?b", True)),
        ("object", Result('{"a":[1,null,2.5]}', True)),
    ],
)
def test_what_a_tool_does_is_told(box, how, result):
    assert box(Call("work", {"how": how})) == result
    assert box(Call("work", {"how": "ab", "count": 2})) == Result("abab", True)


def test_what_is_no_json_is_shown_as_python_shows_it(box):
    text, is_good = box(Call("work", {"how": "odd"}))
    assert is_good and text.startswith("<function work")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (Call("word", {}), "Error: there is no tool 'word'"),
        (Call("work", {}), "Error: Object missing required field `how`"),
        (Call("work", {"how": "a", "more": 1}), "Error: Object contains unknown field `more`"),
        (Call("work", {"how": 1}), "Error: Expected `str`, got `int` - at `$.how`"),
        (Call("work", {"how": "a", "count": "3"}), "aaa"),
        (BadCall("{", "it is not JSON"), "Error: it is not JSON"),
    ],
)
def test_arguments_are_checked(box, call, text):
    assert box(call).text == text


@pytest.mark.parametrize(
    ("functions", "limits", "message"),
    [
        ([], {}, "names of their own. Received: \\[\\]"),
        ([work, work], {}, "names of their own. Received: \\['work', 'work'\\]"),
        ([work], {"timeout": 0}, "timeout must be positive. Received: timeout=0"),
        ([work], {"max_characters": -1}, "max_characters must be positive"),
        ([print], {}, "Received: print"),
    ],
)
def test_mistakes_are_told(functions, limits, message):
    with pytest.raises(ValueError, match=message):
        Toolbox(functions, **limits)
