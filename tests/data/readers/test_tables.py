"""Tables whose rows disagree, with their header or with themselves."""

from __future__ import annotations

import csv
import io

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.data.readers.reading import skipped, write
from tfalign.data import (
    BadFileError,
    BadRecordError,
    ClassRecord,
    TextRecord,
    read_records,
)
from tfalign.data.readers import tables


def test_a_row_of_other_cells_than_the_header_is_bad(tmp_path):
    path = write(tmp_path / "it.csv", "text,label\na,1\nb\nc,1,2\n,\nd,2\n\n e,3\n")
    good, bad = skipped(f"csv:{path}", ClassRecord)
    assert [r.text for r in good] == ["a", "d", " e"]
    assert bad == [
        ("3", "the first row has 2 cells. Received: 1 cells"),
        ("4", "the first row has 2 cells. Received: 3 cells"),
        ("5", "the field 'text' is empty"),
    ]
    with pytest.raises(BadRecordError, match="it.csv:3: the first row has 2 cells. Received: 1"):
        read_records(f"csv:{path}", ClassRecord)
    path = write(tmp_path / "it.tsv", "a\t1\nb\nc\t2\t3\nd\t4\n")
    good, bad = skipped(f"cells:{path}?text=0&label=1", ClassRecord)
    assert [r.text for r in good] == ["a", "d"] and [line for line, _ in bad] == ["2", "3"]


def test_a_quote_that_never_closes_costs_its_own_row(tmp_path):
    rows = [
        '"two\nlines, ""here""",1',
        '"never closed,1',
        "x,2",
        '"a, b",3',
        '"y"z,4',
        'say "hi",5',
        "end,6",
    ]
    path = write(tmp_path / "it.csv", "text,label\n" + "\n".join(rows))
    good, bad = skipped(f"csv:{path}", ClassRecord)
    assert [(r.text, r.label, r.source.rpartition(":")[2]) for r in good] == [
        ('two\nlines, "here"', "1", "2"),
        ("x", "2", "5"),
        ("a, b", "3", "6"),
        ('say "hi"', "5", "8"),
        ("end", "6", "9"),
    ]
    assert [line for line, _ in bad] == ["4", "7"]
    path = write(tmp_path / "last.csv", 'text,label\na,1\n"b,2\nc,3\n')
    assert skipped(f"csv:{path}", ClassRecord)[1] == [("3", "a quote never closes")]


def test_quotes_that_open_again_and_again_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PATIENCE", 1000)
    path = write(tmp_path / "it.csv", "text,label\n" + '",5","x\n' * 2000)
    with pytest.raises(BadFileError, match=r"quotes open and do not close, up to .*it.csv:2001"):
        read_records(f"csv:{path}", ClassRecord, on_bad="skip")


@pytest.mark.parametrize(
    "header, received",
    [
        ("text,text", "two columns called 'text'"),
        ("", "none"),
        ("\n", "none"),
        (",,", "none"),
        ("text\rlabel", "a carriage return"),
        ('"text,label', "a quote never closes"),
        ("te\0xt", "not text: NUL"),
    ],
)
def test_a_header_that_names_nothing_or_one_thing_twice(tmp_path, header, received):
    path = write(tmp_path / "it.csv", header and f"{header}\na,b\n" if header != "\n" else "\n")
    with pytest.raises(BadFileError, match=rf"it.csv:1: .*{received}"):
        read_records(f"csv:{path}", TextRecord, on_bad="skip")


def test_columns_without_a_name_are_left_out(tmp_path):
    path = write(tmp_path / "it.csv", "\ufeff,text,,\n0,a,,\n")
    with pytest.raises(
        BadRecordError, match="'label' is missing. Received fields: text. This looks like texts"
    ):
        read_records(f"csv:{path}", ClassRecord)
    assert read_records(f"csv:{path}", TextRecord)[0].text == "a"


def test_cells_of_any_length_are_read(tmp_path):
    long = "x" * 300_000
    path = write(tmp_path / "it.csv", f'text,label\n{long},a\n"{long}\n{long}",b\n')
    assert [len(r.text) for r in read_records(f"csv:{path}", ClassRecord)] == [300_000, 600_001]
    path = write(tmp_path / "it.tsv", f"text\tlabel\n{long}\ta\n")
    assert len(read_records(f"csv:{path}", ClassRecord)[0].text) == 300_000


@pytest.mark.parametrize("data", [b"text,label\ra,1\rb,2\r", "text,label\na,1\n".encode("utf-16")])
def test_tables_of_other_systems_are_told(tmp_path, data):
    path = write(tmp_path / "it.csv", data)
    with pytest.raises(BadFileError, match="it.csv:1: the header cannot be read: "):
        read_records(f"csv:{path}", ClassRecord, on_bad="skip")


CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@hypothesis.given(st.lists(st.tuples(CELLS, CELLS), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_module_writes_is_read(tmp_path_factory, rows, end):
    """An independent writer: every row comes back, or is bad because a cell is blank."""
    stream = io.StringIO(newline="")
    has_returns = any(
        "\r" in cell for row in rows for cell in row
    )  # which the module may not quote
    quoting = csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL
    csv.writer(stream, lineterminator=end, quoting=quoting).writerows([("text", "label"), *rows])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    write(path, stream.getvalue())
    wanted = [row for row in rows if row[0].strip() and row[1].strip()]
    hypothesis.assume(wanted)
    good, bad = skipped(f"csv:{path}", ClassRecord)
    assert [(r.text, r.label) for r in good] == wanted
    assert len(good) + len(bad) == len(rows)
