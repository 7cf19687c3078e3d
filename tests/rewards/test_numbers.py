"""Numbers read from answers: a table, and every answer of GSM8K."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from tfalign.rewards import last_number, marked_number, parse_number


@pytest.mark.parametrize(
    ("text", "whole", "last"),
    [
        ("72", "72", "72"),
        (" 72. ", "72", "72"),
        ("1,080", "1080", "1080"),
        ("$1,080.50", "1080.50", "1080.50"),
        ("109,200,000", "109200000", "109200000"),
        ("-7", "-7", "-7"),
        ("+7", "7", "7"),
        ("\u22127", "-7", "-7"),  # the typographer's minus
        ("-$5", "-5", "-5"),
        ("$-5", "-5", "-5"),
        ("5 €", "5", "5"),
        ("50%", "50", "50"),
        (".5", "0.5", "0.5"),
        ("007", "7", "7"),
        ("72 clips", None, "72"),
        ("37+48=85", None, "85"),
        ("72-9", None, "9"),  # an operator, not a sign
        ("x=-9", None, "-9"),
        ("pages 3-5", None, "5"),
        ("1,2,3", None, "3"),
        ("12,34", None, "34"),  # no thousands
        ("1,0800", None, "800"),
        ("9" * 5000, "9" * 5000, "9" * 5000),  # int() refuses as many digits
        ("", None, None),
        ("none", None, None),
        ("$", None, None),
    ],
)
def test_reads(text, whole, last):
    assert parse_number(text) == (None if whole is None else Decimal(whole))
    assert last_number(text) == (None if last is None else Decimal(last))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 5 + 5\n#### 10", 10),
        ("#### 9\nno, wait\n#### 10", 10),
        ("#### 1,080 clips in 2 months", 1080),
        ("#### The answer is $10.", 10),
        ("####10", 10),
        ("10", None),
        ("####", None),
        ("####\n10", None),  # another line
        ("#### none", None),
    ],
)
def test_reads_behind_a_marker(text, number):
    assert marked_number(text) == number


def test_every_answer_of_gsm8k(shared_data):
    folder = shared_data / "gsm8k"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder}")
    answers = {
        split: [
            json.loads(line)["answer"]
            for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for split in ("train", "test")
    }
    assert {split: len(some) for split, some in answers.items()} == {"train": 7473, "test": 1319}
    for answer in answers["train"] + answers["test"]:
        (key,) = answer.split("####")[1:]
        number = int(key.replace(",", ""))  # all of them are whole
        assert marked_number(answer) == parse_number(key) == number, answer
