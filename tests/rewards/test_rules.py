"""Rules by hand-worked tables."""

from __future__ import annotations

import re

import pytest

from tfalign.rewards import (
    ExactMatch,
    Format,
    Length,
    Mentions,
    NumericMatch,
    Repetition,
    RewardError,
    marked_number,
)
from tfalign.rewards.rules import words

KEY = {"2+2=": "4", "a thousand": "1,000", "a half": "0.5", "who?": "Ada"}.__getitem__


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One, two; THREE!", ["one", "two", "three"]),
        ("It's 5 o’clock", ["it's", "5", "o'clock"]),
        ("退款7天", ["退", "款", "7", "天"]),
        ("...", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("rule", "prompt", "response", "value"),
    [
        (ExactMatch(KEY), "2+2=", "4", 1),
        (ExactMatch(KEY), "2+2=", " 4\n", 1),
        (ExactMatch(KEY), "2+2=", "4.0", 0),
        (ExactMatch(KEY), "2+2=", "", 0),
        (ExactMatch(KEY), "who?", "ada", 0),
        (ExactMatch(KEY, normalize=str.casefold), "who?", "ada", 1),
        (NumericMatch(KEY), "2+2=", "4.0", 1),
        (NumericMatch(KEY), "2+2=", "It is 5; no, 4", 1),
        (NumericMatch(KEY), "2+2=", "It is 4; no, 5", 0),
        (NumericMatch(KEY), "2+2=", "four", 0),
        (NumericMatch(KEY), "a thousand", "$1000", 1),
        (NumericMatch(KEY), "a half", ".5", 1),
        (NumericMatch(KEY), "a half", "0.4", 0),
        (NumericMatch(KEY, tolerance=0.125), "a half", "0.375", 1),
        (NumericMatch(KEY, tolerance=0.125), "a half", "0.37", 0),
        (NumericMatch(KEY, read=marked_number), "2+2=", "#### 4\n5", 1),
        (NumericMatch(KEY, read=marked_number), "2+2=", "4", 0),
        (NumericMatch(len), "four", "4", 1),
        (NumericMatch(lambda prompt: marked_number("#### 1,080")), "", "$1080", 1),
        (Format(r"[0-9]+"), "", "123", 1),
        (Format(r"[0-9]+"), "", "123!", 0),
        (Format(r"[0-9]+"), "", "", 0),
        (Format(r"<think>.*</think>"), "", "<think>a\nb</think>", 0),
        (Format(r"(?s)<think>.*</think>"), "", "<think>a\nb</think>", 1),
        (Length(3), "", "one two three", 1),
        (Length(3), "", "one two three four", 0),
        (Length(3, shortest=2), "", "one", 0),
        (Length(3, shortest=2, slack=4), "", "one", 0.75),
        (Length(1, slack=4), "", "one two three", 0.5),
        (Length(1, slack=4), "", "a b c d e f g", 0),
        (Length(4, count=len), "", "four", 1),
        (Length(4, count=len), "", "fives", 0),
        (Mentions(("refund", "next week")), "", "A Refund, next week.", 1),
        (Mentions(("refund", "next week")), "", "Next: a week of refunds, one refund", 0.5),
        (Mentions(("refund",)), "", "refunds", 0),
        (Mentions(("退款",)), "", "为您退款。", 1),
        (Mentions(("退款",)), "", "退还款项", 0),
        (Repetition(1), "", "a b a b", 0.5),
        (Repetition(2), "", "a b a b", 1 / 3),  # ab, ba, ab
        (Repetition(3), "", "a b a b", 0),
        (Repetition(3), "", "a b", 0),
        (Repetition(1), "", "so So SO", 2 / 3),
    ],
)
def test_value(rule, prompt, response, value):
    assert rule(prompt, response) == pytest.approx(value, abs=1e-12)


def test_length_less_one_is_the_soft_punishment_of_dapo():
    longest, cache = 10, 4
    rule = Length(longest - cache, slack=cache, count=len)
    for length in range(14):
        if length <= longest - cache:
            expected = 0.0
        elif length <= longest:
            expected = (longest - cache - length) / cache
        else:
            expected = -1.0
        assert rule("", "x" * length) - 1.0 == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NumericMatch(KEY, tolerance=-1), "tolerance=-1"),
        (lambda: Format("("), "regular expression"),
        (lambda: Length(2, shortest=3), "longest=2, shortest=3"),
        (lambda: Length(2, slack=-1), "slack=-1"),
        (lambda: Mentions(()), "at least one word"),
        (lambda: Mentions("refund"), "set of words"),
        (lambda: Mentions(("refund", "?!")), "set of words"),
        (lambda: Repetition(0), "n=0"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_right_answer_that_is_no_number_is_told():
    with pytest.raises(RewardError, match="Received: 'Ada'"):
        NumericMatch(KEY)("who?", "5")
