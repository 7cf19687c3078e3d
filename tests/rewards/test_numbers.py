"""Numbers read from answers: a table, and every answer of GSM8K."""

from __future__ import annotations

import json
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies as st

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
        ("-1,2,3", None, "3"),
        ("in 2020 500 of them", None, "500"),
        ("12,34", None, None),  # no thousands; 12.34, or two numbers
        ("1,0800", None, None),
        ("9" * 5000, "9" * 5000, "9" * 5000),  # int() refuses as many digits
        ("", None, None),
        ("none", None, None),
        ("$", None, None),
    ],
)
def test_reads(text, whole, last):
    assert parse_number(text) == (None if whole is None else Decimal(whole))
    assert last_number(text) == (None if last is None else Decimal(last))


SPACES = ["，", " ", "\u00a0", "\u2007", "\u2009", "\u202f", r"\,", r"\ ", "~"]
MARKS = [",", "{,}", r"{,}\!", "'", "\u2019", "_", "\u066c"]


@pytest.mark.parametrize("mark", [*SPACES, *MARKS])
@pytest.mark.parametrize(
    "frame", ["{}", "${}$", r"\boxed{{{}}}", r"\(\boxed{{{}.5}}\)", "**{}**", "{} €"]
)
def test_thousands_however_they_are_set_apart(mark, frame):
    half = Decimal("0.5") if ".5" in frame else 0
    for digits, number in ((f"4{mark}500", 4500), (f"12{mark}345{mark}678", 12345678)):
        text = frame.format(digits)
        assert parse_number(text) == last_number(text) == number + half
        assert last_number(f"It was 7, so {text} it is.") == number + half
    for broken in (f"4{mark}5000", f"4567{mark}89", f"0{mark}500"):
        read = last_number(broken)
        if mark in SPACES:  # two numbers, of which the last is read, or none
            assert read in (None, Decimal(broken.rpartition(mark)[2]))
        else:
            assert read is None and parse_number(broken) is None


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("3/4", "0.75"),
        ("-3/4", "-0.75"),
        ("1 1/2", "1.5"),
        ("1½", "1.5"),
        ("-½", "-0.5"),
        (r"\frac{3}{4}", "0.75"),
        (r"-1\dfrac{1}{2}", "-1.5"),
        (r"$\boxed{\frac34}$", "0.75"),
        ("10/2", "5"),
        ("4.5e3", "4500"),
        ("4.5E+3", "4500"),
        ("4.5×10^3", "4500"),
        ("4.5·10³", "4500"),
        (r"$4.5 \times 10^{-3}$", "0.0045"),
        ("４５００", "4500"),
        ("４，５００．５", "4500.5"),
        ("１２％", "12"),
        (r"50\%", "50"),
        ("٤٥٠٠", "4500"),
        ("4\u200b500", "4500"),
        ("1.5 million", "1500000"),
        ("3万", "30000"),
        (r"\boxed{4{,}500}", "4500"),
        (r"90^\circ", None),
    ],
)
def test_reads_whole_however_it_is_written(text, whole):
    expected = None if whole is None else Decimal(whole)
    assert parse_number(text) == expected
    assert last_number(f"2 + 3: {text}.") == (expected or Decimal(90))


@pytest.mark.parametrize(
    "text",
    [
        *("1/3", "24/7", "1/0", "3/4/2021", "2021-03-04", "12:30", "3:4", "1.2.3", "192.168.0.1"),
        *(
            "10^3",
            "10³",
            "2^{10}",
            r"\sqrt{2}",
            "√2",
            r"2\sqrt{3}",
            r"\frac{\pi}{2}",
            r"2\pi",
            "2π",
        ),
        *("1.080,5", "1 234,5", "1,234 567", "0,500", "5k", "3M", "3万5千", "0x1F", "±5", r"\pi/4"),
        *("1e99999999", "1" * 101 + "/3"),
    ],
)
def test_a_fragment_is_never_read(text):
    assert parse_number(text) is None
    assert last_number(f"Of 7 it is {text}") is None
    assert marked_number(f"#### {text}") is None


@pytest.mark.parametrize("text", ["x_1", "H2O", "cm^2", "cm²", "x_{10}"])
def test_digits_of_names_are_no_numbers(text):
    assert parse_number(text) is None and last_number(f"It is 72 {text}") == 72


@hypothesis.given(
    st.decimals(-(10**12), 10**12, places=3), st.sampled_from([",", "{,}", " ", "\u202f", "'", "_"])
)
def test_whatever_is_written_is_read_back(number, mark):
    written = f"{number:,}".replace(",", mark)
    assert parse_number(written) == last_number(f"so: {written}") == number


@hypothesis.given(
    st.text(alphabet="0123456789.,'_ /:^eE-+%$\\{}fracsqrtboxed×½²√٣４，\u202f\n", max_size=30)
)
def test_any_text_is_read_or_not(text):
    for read in (parse_number, last_number, marked_number):
        value = read(text)
        assert value is None or (value.is_finite() and abs(value) >= 0)


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
