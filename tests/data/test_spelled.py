"""Spelled-out numbers and dates: by hand, and read back by other code."""

import datetime
import re

import pytest

from tfalign.data import CompletionRecord, encode_translations, spelled_pairs
from tfalign.data.spelled import LARGEST, chinese_date, chinese_number, english_date, english_number
from tfalign.text import train_byte_bpe

NUMBERS = [
    (0, "zero", "零"),
    (10, "ten", "十"),
    (13, "thirteen", "十三"),
    (20, "twenty", "二十"),
    (101, "one hundred one", "一百零一"),
    (110, "one hundred ten", "一百一十"),
    (1_010, "one thousand ten", "一千零一十"),
    (10_000, "ten thousand", "一万"),
    (12_345, "twelve thousand three hundred forty-five", "一万二千三百四十五"),
    (100_000, "one hundred thousand", "十万"),
    (200_020, "two hundred thousand twenty", "二十万零二十"),
    (506_070, "five hundred six thousand seventy", "五十万六千零七十"),
    (
        999_999,
        "nine hundred ninety-nine thousand nine hundred ninety-nine",
        "九十九万九千九百九十九",
    ),
]
_WORDS = dict(
    zip(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
            "thirty",
            "forty",
            "fifty",
            "sixty",
            "seventy",
            "eighty",
            "ninety",
            "hundred",
            "thousand",
        ],
        [*range(20), *range(20, 100, 10), 100, 1000],
    )
)
_NUMERALS = dict(zip("零一二三四五六七八九十百千万", [*range(10), 10, 100, 1000, 10_000]))


def read_english(text):
    thousands, total = 0, 0
    for word in re.split("[ -]", text):
        value = _WORDS[word]
        if value == 1000:
            thousands, total = total, 0
        else:
            total = total * 100 if value == 100 else total + value
    return 1000 * thousands + total


def read_chinese(text):
    myriads, total, digit = 0, 0, 0
    for numeral in text:
        value = _NUMERALS[numeral]
        if value == 10_000:
            myriads, total, digit = total + digit, 0, 0
        elif value < 10:
            digit = value
        else:
            total, digit = total + (digit or 1) * value, 0
    return 10_000 * myriads + total + digit


@pytest.mark.parametrize(("number", "english", "chinese"), NUMBERS)
def test_numbers_by_hand(number, english, chinese):
    assert (english_number(number), chinese_number(number)) == (english, chinese)


def test_numbers_are_read_back():
    for number in [*range(2_000), *range(2_000, LARGEST + 1, 997)]:
        assert read_english(english_number(number)) == number
        assert read_chinese(chinese_number(number)) == number
        assert "零零" not in chinese_number(number)


def test_dates_by_hand():
    day = datetime.date(1905, 11, 20)
    assert english_date(day) == "November 20, 1905"
    assert chinese_date(day) == "一九〇五年十一月二十日"


@pytest.mark.parametrize("number", [-1, LARGEST + 1])
def test_numbers_out_of_range(number):
    for spell in (english_number, chinese_number):
        with pytest.raises(ValueError, match=f"Received: {number}"):
            spell(number)


def test_a_value_is_held_out_of_every_direction():
    train, test = (spelled_pairs(split, larger=200, dates=200) for split in ("train", "test"))
    values = [{r.source.split(":")[2] for r in records} for records in (train, test)]
    assert not values[0] & values[1]
    assert len(train) == 4 * len(values[0]) and len(test) == 4 * len(values[1])
    assert 0.03 < len(test) / (len(train) + len(test)) < 0.07
    directions = {r.source.split(":")[1] for r in test}
    assert len(directions) == 8
    assert len({(r.prompt) for r in train + test}) == len(train + test), "a prompt has two answers"
    with pytest.raises(ValueError, match="split='dev'"):
        spelled_pairs("dev")


def test_sources_end_and_targets_begin_and_end():
    tokenizer = train_byte_bpe([], 259)
    records = [CompletionRecord("ab", "c"), CompletionRecord("d", "efg")]
    examples = encode_translations(records, tokenizer, 6)
    batch = examples.batch([0, 1], 6)
    bos, eos, pad = tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id
    letters = {letter: tokenizer.encode(letter)[0] for letter in "abcdefg"}
    assert batch.source_ids[0].tolist() == [letters["a"], letters["b"], eos, pad, pad, pad]
    assert batch.target_ids[1].tolist() == [bos, *(letters[x] for x in "efg"), eos, pad]
    assert batch.source_mask.sum(axis=1).tolist() == [3, 2]
    assert batch.target_mask.sum(axis=1).tolist() == [3, 5]
    with pytest.raises(ValueError, match="the target has 5 tokens, more than 4"):
        encode_translations(records, tokenizer, 4)
