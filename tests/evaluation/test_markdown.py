"""Any text is one cell of a table, shown as it is."""

import re

import pytest

from tfalign.evaluation.markdown import escape_cell, number, table


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("plain", "plain"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("one\ntwo\r\nthree\u2028four", "one<br>two<br>three<br>four"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("**b** _i_ `c` ~s~ $m$", r"\*\*b\*\* \_i\_ \`c\` \~s\~ \$m\$"),
        ("![x](http://y)", r"!\[x\](http://y)"),
        ("tab\tnull\x00", "tab null"),
        ("顾客：你好", "顾客：你好"),
        ("\ud800", "?"),
        (" \n ", "*(empty)*"),
        ("", "*(empty)*"),
    ],
)
def test_a_cell_shows_the_text_literally(text, cell):
    assert escape_cell(text) == cell


def test_long_text_loses_its_middle():
    cell = escape_cell("a" * 300 + "b" * 300, limit=90)
    assert cell == "a" * 60 + r" \[…\] " + "b" * 30
    assert escape_cell("a" * 90, limit=90) == "a" * 90


def test_a_table_keeps_its_shape_whatever_the_texts():
    nasty = ["a|b", "a\\", "a\\|", "x\ny", "|||", "", "客服：|\n"]
    lines = table(["text", "again"], [[escape_cell(x), escape_cell(x)] for x in nasty]).split("\n")
    assert len(lines) == 2 + len(nasty)
    for line in lines:
        # A pipe separates cells unless an odd number of backslashes stands before it.
        separators = re.findall(r"(?<!\\)(?:\\\\)*\|", line)
        assert len(separators) == 3, line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (12345, "12,345"),
        (999.9, "1,000"),
        (999.4, "999"),
        (1234.5, "1,234"),
        (0.12345, "0.123"),
        (-7.891, "-7.89"),
    ],
)
def test_numbers_have_the_digits_one_reads(value, shown):
    assert number(value) == shown
