"""Numbers and dates, spelled out in English and in Chinese: a mapping to learn that needs no download.

    digits: forty-two thousand seven    ->    42007
    english: 42007                      ->    forty-two thousand seven
    digits: 四万二千零七                   ->    42007
    chinese: 42007                      ->    四万二千零七
    date: March 3, 2021                 ->    2021-03-03
    english: 2021-03-03                 ->    March 3, 2021
    date: 二〇二一年三月三日               ->    2021-03-03
    chinese: 2021-03-03                 ->    二〇二一年三月三日

A number or date that is held out is held out of every direction.
"""

from __future__ import annotations

import datetime

import numpy as np

from tfalign.data.checks import whole_number
from tfalign.data.records import CompletionRecord, PromptRecord, split_by_prompt

_ONES = [
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
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DIGITS, _ZERO_OF_YEARS = "零一二三四五六七八九", "〇"
_UNITS = ("", "十", "百", "千")

LARGEST = 999_999
_ALL_BELOW = 10_000
_FIRST_DAY, _LAST_DAY = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
_TEST_FRACTION = 0.05


def spelled_pairs(
    split: str, larger: int = 10_000, dates: int = 10_000, seed: int = 0
) -> list[CompletionRecord]:
    """Pairs of texts, in a fixed order.

    All numbers below 10,000, ``larger`` ones up to 999,999 and ``dates`` from 1900 to 2099, each
    in its four directions; a twentieth of them is held out.

    Args:
        split: "train" or "test".
        larger: int, how many numbers of five and six digits are drawn.
        dates: int, how many dates are drawn.
        seed: int, of the draws.

    Returns:
        list of CompletionRecord; ``source`` names the direction, such as
        "spelled:digits to chinese:42007".

    Raises:
        ValueError: if the split is unknown, or a number is negative.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test. Received: split={split!r}")
    for name, value in (("larger", larger), ("dates", dates), ("seed", seed)):
        whole_number(name, value, least=0)
    random = np.random.default_rng(seed)
    days = (_LAST_DAY - _FIRST_DAY).days + 1
    numbers = [*range(_ALL_BELOW), *random.integers(_ALL_BELOW, LARGEST + 1, larger).tolist()]
    chosen = random.choice(days, min(dates, days), replace=False).tolist()
    values = dict.fromkeys([str(number) for number in numbers])  # distinct, in order
    values |= dict.fromkeys(
        [_FIRST_DAY.fromordinal(_FIRST_DAY.toordinal() + d).isoformat() for d in chosen]
    )
    parts = split_by_prompt([PromptRecord(value) for value in values], _TEST_FRACTION)
    return [pair for value in parts[split == "test"] for pair in _directions(value.prompt)]


def english_number(number: int) -> str:
    """A number in words, as in the United States.

    Args:
        number: int in [0, 999,999].

    Returns:
        str.

    Raises:
        ValueError: if the number is out of its range.

    >>> english_number(42007), english_number(115)
    ('forty-two thousand seven', 'one hundred fifteen')
    """
    _check(number)
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    many, rest = divmod(number, size)
    return f"{english_number(many)} {name}" + (f" {english_number(rest)}" if rest else "")


def chinese_number(number: int) -> str:
    """A number in Chinese numerals; zeros in a row are read once, and ten begins without a one.

    Args:
        number: int in [0, 999,999].

    Returns:
        str.

    Raises:
        ValueError: if the number is out of its range.

    >>> chinese_number(42007), chinese_number(110), chinese_number(100_010), chinese_number(12)
    ('四万二千零七', '一百一十', '十万零一十', '十二')
    """
    _check(number)
    if number == 0:
        return _DIGITS[0]
    myriads, rest = divmod(number, 10_000)
    text = f"{_read_digits(myriads)}万" if myriads else ""
    if rest:
        text += (_DIGITS[0] if myriads and rest < 1000 else "") + _read_digits(rest)
    return text.removeprefix("一") if text.startswith("一十") else text


def english_date(day: datetime.date) -> str:
    """A datetime.date, for instance "March 3, 2021"."""
    return f"{_MONTHS[day.month - 1]} {day.day}, {day.year}"


def chinese_date(day: datetime.date) -> str:
    """A datetime.date, for instance "二〇二一年三月三日"; a year is read digit by digit.

    >>> chinese_date(datetime.date(2021, 10, 31))
    '二〇二一年十月三十一日'
    """
    year = "".join(_DIGITS[int(digit)] for digit in str(day.year))
    year = year.replace(_DIGITS[0], _ZERO_OF_YEARS)
    return f"{year}年{chinese_number(day.month)}月{chinese_number(day.day)}日"


def _read_digits(number):
    """A number from 1 to 9,999, a one before every ten."""
    text, gap = "", False
    for digit, unit in zip(f"{number:04d}", reversed(_UNITS)):
        if digit == "0":
            gap = bool(text)
        else:
            text += (_DIGITS[0] if gap else "") + _DIGITS[int(digit)] + unit
            gap = False
    return text


def _directions(value):
    """The four pairs of a number or of an ISO date."""
    if "-" in value:
        day, plain, task = datetime.date.fromisoformat(value), "date", "date"
        spelled = {"english": english_date(day), "chinese": chinese_date(day)}
    else:
        number, plain, task = int(value), "digits", "number"
        spelled = {"english": english_number(number), "chinese": chinese_number(number)}
    for language, text in spelled.items():
        for wanted, source, target in ((plain, text, value), (language, value, text)):
            given = language if wanted == plain else plain
            where = f"spelled:{task} from {given} to {wanted}:{value}"
            yield CompletionRecord(f"{wanted}: {source}", target, where)


def _check(number):
    if not 0 <= number <= LARGEST:
        raise ValueError(f"A number lies in [0, {LARGEST:,}]. Received: {number}")
