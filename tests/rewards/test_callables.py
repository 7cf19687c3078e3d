"""Python functions as rewards: every way to be called, the records they see, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tfalign.data import PromptRecord
from tfalign.rewards import ExactMatch, RewardError, TextReward
from tfalign.rewards.callables import find_function, signature_of
from tfalign.text import Message

IDS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], "int32")
MASK = np.ones((2, 4), "bool")
RECORDS = [
    PromptRecord("one", row={"answer": 1}),
    PromptRecord((Message("user", "two"),), row={"answer": 2}),
]


def decode(ids):
    return " ".join(map(str, ids))


def rewarded(function, records=RECORDS, rows=(1, 0)):
    return TextReward(function, decode, records)(IDS, MASK, MASK[:, 2:], rows).tolist()


def test_a_prompt_is_the_records_own_text_or_messages():
    seen = []
    rewarded(lambda prompt, response: seen.append((prompt, response)))
    assert seen == [([{"role": "user", "content": "two"}], "3 4"), ("one", "7 8")]
    seen.clear()
    TextReward(lambda *texts: seen.append(texts), decode)(IDS, MASK, MASK[:, 2:])
    assert seen == [("1 2", "3 4"), ("5 6", "7 8")]


def test_a_record_has_all_columns():
    assert rewarded(lambda prompt, response, record: record["answer"]) == [2, 1]
    assert rewarded(lambda p, r, record: record["prompt"] == "one") == [0, 1]


def test_batches_and_none():
    def reward(prompts, responses, records):
        return [len(response) * record["answer"] for response, record in zip(responses, records)]

    assert rewarded(reward) == [6, 3]
    assert rewarded(lambda prompts, completions: [1, None]) == [1, 0]
    assert rewarded(lambda prompt, response: None) == [0, 0]
    with pytest.raises(RewardError, match="2 responses must return 2 numbers. Received: \\[1\\]"):
        rewarded(lambda prompts, responses: [1])


@pytest.mark.parametrize(
    "function",
    [lambda: 0, lambda response: 0, lambda a, b, c, d: 0, lambda a, *, b: 0, lambda a, b, *, c: 0],
)
def test_a_function_that_cannot_be_called_is_refused_when_it_is_given(function):
    with pytest.raises(ValueError, match="A reward is called as .* Received: <lambda>"):
        TextReward(function, decode, RECORDS)


def test_a_function_of_records_needs_them():
    with pytest.raises(ValueError, match="needs the records"):
        TextReward(lambda p, r, record: 0, decode)


@pytest.mark.parametrize(
    ("function", "takes_record", "is_batched"),
    [
        (lambda prompt, response: 0, False, False),
        (lambda *texts: 0, False, False),
        (lambda prompt, response, weight=1: 0, False, False),
        (lambda prompt, response, record: 0, True, False),
        (lambda prompts, responses: 0, False, True),
        (lambda prompts, completions, records: 0, True, True),
        (ExactMatch(str), False, False),
        (max, False, False),
    ],
)
def test_how_a_function_wants_to_be_called(function, takes_record, is_batched):
    assert signature_of(function) == (takes_record, is_batched)


def test_a_function_is_found_in_a_file_and_in_a_module(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def one(prompt, response):\n    return 1.0\n\nname = 'x'\n")
    assert find_function(f"{file}:one")("", "") == 1.0
    assert find_function("math:hypot")(3, 4) == 5
    with pytest.raises(ValueError, match="must be a function. Received: 'x'"):
        find_function(f"{file}:name")
    with pytest.raises(ValueError, match="is named MODULE:NAME or FILE.py:NAME. Received: 'one'"):
        find_function("one")
    file.write_text("1 / 0")
    with pytest.raises(ValueError, match="cannot be imported: division by zero"):
        find_function(f"{file}:one")
