"""JSON arrays: any spelling and any size, and what is damaged."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.data.readers.reading import write
from tfalign.data import BadFileError, TextRecord, read_records
from tfalign.data.readers import files

TEXTS = ["a", 'quotes " and [brackets], {braces}', "新年 \u2028 快乐", "x" * 300]


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_pieces_of_any_size_give_the_same_elements(tmp_path, monkeypatch, piece, indent):
    monkeypatch.setattr(files, "_PIECE", piece)
    data = json.dumps(
        [{"text": t, "n": [1.5e3, {"m": 12}]} for t in TEXTS], indent=indent, ensure_ascii=False
    )
    path = write(tmp_path / "it.json", "\ufeff \n" + data + "\n")
    records = read_records(path, TextRecord)
    assert [record.text for record in records] == TEXTS
    assert records[1].source == f"{path}[1]" and records[1].row == {"n": [1.5e3, {"m": 12}]}
    (tmp_path / "it.json.gz").write_bytes(gzip.compress(data.encode()))
    assert [r.text for r in read_records(f"{path}.gz", TextRecord)] == TEXTS


def test_json_lines_may_be_called_json(tmp_path):
    path = write(tmp_path / "it.json", '{"text": "a"}\n{"text": "b"}\n')
    assert [record.text for record in read_records(path, TextRecord)] == ["a", "b"]


def test_bad_elements_are_counted_and_a_broken_array_stops(tmp_path):
    path = write(
        tmp_path / "it.json", '[{"text": "a"}, 12, {"text": 1, "text": 2}, [], {"text": "b"}]'
    )
    records = read_records(path, TextRecord, on_bad="skip")
    assert [record.text for record in records] == ["a", "b"]
    assert [(bad.source[-3:], bad.reason[:24]) for bad in records.bad] == [
        ("[1]", "must be a JSON object. R"),
        ("[2]", "the key 'text' (str) sta"),
        ("[3]", "must be a JSON object. R"),
    ]
    for text, reason in {
        '[{"text": "a"} {"text": "b"}]': r"a comma must follow an element. Received: '{'",
        '[{"text": "a"}': "a comma must follow an element. Received: the end of the file",
        '[{"text": "a]': r"\[0\]: not JSON",
        '[{"text": "a"}] 3': "something follows the array",
        '[{"text": "a"}, ' + "[" * 100_000: r"not usable JSON \(nested too deeply\)",
    }.items():
        with pytest.raises(BadFileError, match=reason):
            read_records(write(tmp_path / "it.json", text), TextRecord, on_bad="skip")
    with pytest.raises(BadFileError, match="not UTF-8"):
        read_records(write(tmp_path / "it.json", b'[{"text": "\xff"}]'), TextRecord)
