"""Lines that are JSON and no record, and lines that are neither."""

from __future__ import annotations

import pickle

import pytest

from tests.data.readers.reading import skipped, write
from tfalign.data import (
    BadRecordError,
    ClassRecord,
    SimilarityRecord,
    read_records,
)

SIMILAR = '{"first": "a", "second": "b", "score": 1}'
BIG = "9" * 5000


@pytest.mark.parametrize(
    "line, reason",
    [
        (SIMILAR.replace("1", "9" * 400), "'score' must be a finite number. Received: 999"),
        (SIMILAR.replace("1", "-" + "9" * 400), "'score' must be a finite number. Received: -999"),
        (SIMILAR.replace("1", "1e400"), "'score' must be a finite number. Received: inf"),
        (SIMILAR.replace("1", "NaN"), "'score' must be a finite number. Received: nan"),
        (SIMILAR.replace("1", "-Infinity"), "'score' must be a finite number. Received: -inf"),
        (SIMILAR.replace("1", '"１.5"'), "'score' must be a finite number. Received: '１.5' (str)"),
        (SIMILAR.replace("1", '"1_0"'), "'score' must be a finite number. Received: '1_0' (str)"),
        (SIMILAR.replace("1", "true"), "'score' must be a finite number. Received: True (bool)"),
        (SIMILAR.replace("1", BIG), "an integer of too many digits"),
        (
            SIMILAR.replace("{", '{"other": [{"a": -' + BIG + "}], "),
            "an integer of too many digits",
        ),
        (BIG, "an integer of too many digits"),
        (SIMILAR.replace('"a"', "[" * 900 + "]" * 900), "must be a message with role and content"),
        (SIMILAR.replace('"a"', "[" * 9000 + "]" * 9000), "nested too deeply"),
        (SIMILAR.replace('"a"', "9" * 400), "'first' must be text. Received: 999"),
        (SIMILAR.replace('"a"', '"a", "first": "b"'), "'first' (str) stands twice in one object"),
        (SIMILAR.replace('"a"', '{"x": 1, "x": 2}'), "'x' (str) stands twice in one object"),
        (SIMILAR.replace("a", "\\ud800"), "half a surrogate pair"),
        (SIMILAR.replace("a", "\\udc00 \\ud83d"), "half a surrogate pair"),
        ('{"\\ud800": 1}', "'first' is missing. Received fields: \\ud800"),
        (SIMILAR.replace("first", "a\\nb" * 500), "'first' is missing. Received fields: "),
        (SIMILAR.replace("a", "a\0"), "not text: NUL at character 12"),
        ('"text"', "must be a JSON object. Received: 'text' (str)"),
    ],
    ids=range(22),
)
def test_a_line_of_json_that_is_no_record(tmp_path, line, reason):
    good = SIMILAR.replace("}", ', "junk": NaN}')
    path = write(tmp_path / "it.jsonl", f"{good}\n{line}\n{good}\n")
    records, ((where, told),) = skipped(path, SimilarityRecord)
    assert len(records) == 2 and where == "2"
    assert reason in told and "\n" not in told and len(told) < 900
    with pytest.raises(BadRecordError) as caught:
        read_records(path, SimilarityRecord)
    str(caught.value).encode("utf-8")
    again = pickle.loads(pickle.dumps(caught.value))  # from a worker process
    assert (again.source, again.reason, str(again)) == (f"{path}:2", told, str(caught.value))


def test_labels_may_have_hundreds_of_digits(tmp_path):
    path = write(tmp_path / "it.jsonl", '{"text": "a", "label": %s}' % ("9" * 400))
    assert read_records(path, ClassRecord)[0].label == "9" * 400
