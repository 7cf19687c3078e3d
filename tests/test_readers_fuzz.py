"""Damaged files of every format: read, or told as a bad record, and nothing else; and no line is lost
without being counted."""

from __future__ import annotations

import collections
import gzip
import io
import json
import random
import re
import struct
import zipfile

import numpy as np
import pytest

from tfalign.data import (
    BadRecordError,
    ClassRecord,
    CompletionRecord,
    PreferenceRecord,
    PromptRecord,
    SimilarityRecord,
    TaggedRecord,
    TextRecord,
    read_documents,
    read_records,
)
from tfalign.data.readers.fields import fields_of
from tfalign.data.records import KINDS
from tfalign.evaluation.curves import read_curves
from tfalign.language_models import read_arpa
from tfalign.models.llama2c import load_llama2c, load_llama2c_tokenizer

SPECIAL = [
    *(c.encode() for c in " \t\r\n\v\f\x1c\x85\u00a0\u2028\u3000\ufeff\u202e\"',:[]{}\\/#=?&<>"),
    *(
        b"\x00",
        b"\xff",
        b"\xfe",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf5\x80\x80\x80",
        b"\xef\xbb\xbf",
    ),
    *(b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"\\ud83d", b"\\u0000", b'""', b"-99"),
    *(b"<s>", b"</s>", b"\\end\\", b"\\data\\", b"-DOCSTART-", b"ngram 1=99999999999999999999"),
    *(b"[" * 3000, b'{"a":' * 3000, b"9" * 400, b"9" * 5000, "９".encode(), "٣".encode()),
]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """The bytes of a file with one to three things done to them."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        data = dice.choice(MUTATIONS)(data, dice)
    return data


def _flip(data, dice):
    changed = bytearray(data)
    for _ in range(dice.randint(1, 8) if data else 0):
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _truncate(data, dice):
    return data[: dice.randint(0, len(data))]


def _insert(data, dice):
    at = dice.randint(0, len(data))
    return data[:at] + dice.choice(SPECIAL) + data[at:]


def _delete(data, dice):
    start = dice.randint(0, len(data))
    return data[:start] + data[start + dice.randint(1, 20) :]


def _lines(change):
    def mutation(data, dice):
        lines = data.splitlines(keepends=True)
        if lines:
            change(lines, dice)
        return b"".join(lines)

    return mutation


def _repeat(lines, dice):
    lines.insert(dice.randint(0, len(lines)), dice.choice(lines))


def _drop(lines, dice):
    lines.pop(dice.randrange(len(lines)))


def _swap(lines, dice):
    i, j = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]


def _enlarge(data, dice):
    """A digit becomes many."""
    places = [place for place, byte in enumerate(data) if byte in b"0123456789"]
    if not places:
        return data
    at = dice.choice(places)
    return data[: at + 1] + b"0" * dice.choice((3, 20, 400, 5000)) + data[at + 1 :]


def _recode(data, dice):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    return text.encode(
        dice.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7")), "replace"
    )


def _end_lines(data, dice):
    return data.replace(b"\n", dice.choice((b"\r", b"\r\n", "\u2028".encode(), b"\n\n", b"\0\n")))


MUTATIONS = (
    _flip,
    _truncate,
    _insert,
    _insert,
    _delete,
    _lines(_repeat),
    _lines(_drop),
    _lines(_swap),
    _enlarge,
    _recode,
    _end_lines,
)


def json_lines(*rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def zipped(members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


_TALK = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"}]
_ROW = {
    "text": "茶水 and tea",
    "prompt": "p?",
    "completion": " c",
    "chosen": " good",
    "rejected": " bad",
    "margin": 1.5,
    "label": 1,
    "completions": ["a", "b", "c"],
    "steps": ["1", "2"],
    "labels": [True, False],
    "messages": _TALK,
    "words": ["a", "b"],
    "tags": ["O", "B-x"],
    "first": "one",
    "second": "two",
    "score": 2.5,
}
_TRANSCRIPT = {
    "chosen": "\n\nHuman: a\n\nAssistant: good",
    "rejected": "\n\nHuman: a\n\nAssistant: bad",
}
_JSON = json_lines(*(_ROW | {"prompt": f"p{number}"} for number in range(4)))
_TABLE = b'text,label,score\n"two\nlines, ""here""",pos,1\nplain,neg,2\n"x",pos,3\nlast,neg,4.5\n'
_CELLS = _TABLE.partition(b"\n")[2]
_TABS = _TABLE.replace(b'"two\nlines, ""here"""', b"two").replace(b",", b"\t")
_OF_TRANSCRIPTS = [TextRecord, PromptRecord, CompletionRecord, PreferenceRecord]
_TAGGED = [TaggedRecord]
_TEXTS = {"neg/1.txt": b"one\n\ntwo", "pos/2.txt": "茶".encode(), "__MACOSX/neg/._1.txt": b"\0\5"}

SEEDS = {  # name -> (source with {} for the file's path, the file's name, its content, kinds)
    "json": ("{}", "it.jsonl", _JSON, KINDS),
    "json.gz": ("{}", "it.jsonl.gz", gzip.compress(_JSON, mtime=0), KINDS),
    "transcripts": ("anthropic:{}", "it.jsonl", json_lines(*[_TRANSCRIPT] * 3), _OF_TRANSCRIPTS),
    "text": ("text:{}", "it.txt", "one\ntwo\n\nthree\n \n四\n".encode(), [TextRecord]),
    "zip": ("text:{}", "it.zip", zipped(_TEXTS), [TextRecord]),
    "stored": ("text:{}?text=text", "it.zip", zipped(_TEXTS, zipfile.ZIP_STORED), [TextRecord]),
    "csv": ("csv:{}", "it.csv", _TABLE, [TextRecord, ClassRecord]),
    "tsv": ("csv:{}", "it.tsv", _TABS, [TextRecord, ClassRecord]),
    "cells": ("cells:{}?text=0&label=1", "it.csv", _CELLS, [ClassRecord]),
    "scores": ("cells:{}?first=0&second=1&score=2", "it.csv", _CELLS, [SimilarityRecord]),
    "conll": ("conll:{}", "it.conll", "a\tO\nb\tB-x\n\n茶\tO\n\nc\tO\nd\tI-x\n".encode(), _TAGGED),
    "spaces": ("conll:{}", "it.conll", b"-DOCSTART- -X- O\n\na N O\nb N B-x\n\nc N O\n", _TAGGED),
}

ARPA = b"""made by hand

\\data\\
ngram 1=4
ngram 2=3
ngram 3=1

\\1-grams:
-99\t<s>\t-0.30103
-0.60206\t</s>
-0.30103 the -0.5
-0.60206 cat

\\2-grams:
-0.1 <s> the 0.2
-0.2\tthe cat
-0.4 cat </s>

\\3-grams:
-0.1 <s> the cat

\\end\\
"""
METRICS = json_lines(
    {"stage": "align", "step": 1, "time": 1.0, "kl": 0.25, "loss": None},
    {"stage": "align", "step": 2, "time": 2.0, "kl": 0.5, "loss": 1},
    {"stage": "sft", "step": 1, "time": 3.0, "loss": 4.0},
)


@pytest.mark.parametrize("format", SEEDS)
def test_a_damaged_file_is_read_or_told(tmp_path, fuzz_cases, format):
    """Half of the cases stop at a bad record, half skip; a BadRecordError names the file."""
    source, name, content, kinds = SEEDS[format]
    file, dice, outcomes = tmp_path / name, random.Random(format), collections.Counter()
    for case in range(fuzz_cases(1_200) // len(SEEDS) + 1):
        data = mutate(content, dice)
        if name.endswith(".gz") and dice.random() < 0.7:  # within a whole archive
            data = gzip.compress(mutate(gzip.decompress(content), dice), 1, mtime=0)
        file.write_bytes(data)
        on_bad = ("stop", "skip")[case % 2]
        try:
            records = read_records(source.format(file), dice.choice(kinds), on_bad)
            outcomes["read"] += 1
            assert records and (on_bad == "skip" or not records.bad)
        except BadRecordError as error:
            outcomes["bad"] += 1
            assert str(file) in error.source and error.reason
            assert "\n" not in error.reason
            str(error).encode("utf-8")
    print(f"{format}: {dict(outcomes)}")
    assert outcomes["bad"] and outcomes["read"]


@pytest.mark.parametrize("format", SEEDS)
def test_a_stated_column_is_read_or_refused(tmp_path, format):
    """Of every format, kind and field: no option is passed over."""
    source, name, content, kinds = SEEDS[format]
    file = tmp_path / name
    file.write_bytes(content)
    address = source.format(file).partition("?")[0]
    columns = dict(pair.split("=") for pair in source.partition("?")[2].split("&") if pair)
    for kind in kinds:
        for field in (field.name for field in fields_of(kind)):
            stated = "&".join(f"{f}={c}" for f, c in (columns | {field: "none"}).items())
            with pytest.raises(
                BadRecordError, match="the field 'none' is missing. Received fields"
            ):
                read_records(f"{address}?{stated}", kind)


def _rows_of(format):
    """(source with {}, file name, separator-terminated records, one a list entry) of ten records."""
    texts = [f"文 {number} x" for number in range(10)]
    if format == "json":
        return "{}", "it.jsonl", [json_lines({"text": t, "label": "a"}) for t in texts], b""
    if format == "csv":
        lines = [f'"{t}, ""so""",a\n' if n % 2 else f"{t},a\r\n" for n, t in enumerate(texts)]
        return "csv:{}", "it.csv", [line.encode() for line in lines], b"text,label\n"
    if format == "cells":
        return "cells:{}?text=0&label=1", "it.csv", [f"{t},a\n".encode() for t in texts], b""
    return "csv:{}", "it.tsv", [f"{t}\ta\n".encode() for t in texts], b"text\tlabel\n"


def _as_text(row):
    return row.replace(b"x", b"\xff"), row.replace(b"x", b"\0"), row.replace(b"x", b"\xed\xa0\x80")


BREAKS = {  # ways to break exactly the one row
    "json": lambda row: (
        *_as_text(row),
        row.replace(b"}", b""),
        row.replace(b"{", b""),
        row.replace(b'"a"', b"9" * 5000),
        row.replace(b'"a"', b"[" * 5000),
        row.replace(b'"a"', b'"a", "label": "b"'),
        row.replace(b"x", b"\\ud800"),
        b"[1]\n",
    ),
    "csv": lambda row: (
        *_as_text(row),
        b'"' + row.replace(b'"', b""),
        row.replace(b",a", b',"a'),
        row.replace(b",a", b",a,b"),
        row.replace(b",a", b'"a').replace(b",", b""),
        b'"a"b,c\n',
        b"a\rb,c\n",
    ),
    "tsv": lambda row: (
        *_as_text(row),
        row.replace(b"\t", b" "),
        row.replace(b"\t", b"\t\t"),
        row.replace(b"\t", b"\r\t"),
    ),
}
BREAKS["cells"] = BREAKS["csv"]


@pytest.mark.parametrize("format", BREAKS)
def test_one_broken_row_is_one_skipped_record(tmp_path, format):
    """Read and skipped together are all, wherever the broken one stands, and the others are whole."""
    source, name, rows, header = _rows_of(format)
    file = tmp_path / name
    file.write_bytes(header + b"".join(rows))
    whole = list(read_records(source.format(file), ClassRecord))
    assert len(whole) == 10
    for at in (*range(bool(not header), 10),):
        for broken in BREAKS[format](rows[at]):
            file.write_bytes(header + b"".join([*rows[:at], broken, *rows[at + 1 :]]))
            records = read_records(source.format(file), ClassRecord, on_bad="skip")
            assert list(records) == whole[:at] + whole[at + 1 :], broken
            assert [bad.source for bad in records.bad] == [whole[at].source]
            with pytest.raises(BadRecordError) as caught:
                read_records(source.format(file), ClassRecord)
            assert caught.value.source == whole[at].source


def _fuzz(tmp_path, cases, name, content, read):
    """Reads damaged files: what ``read`` raises must be a ValueError that names the file."""
    file, dice, outcomes = tmp_path / name, random.Random(name), collections.Counter()
    for _ in range(cases):
        file.write_bytes(mutate(content, dice))
        try:
            read(file)
            outcomes["read"] += 1
        except ValueError as error:
            outcomes["bad"] += 1
            assert str(error).startswith(str(file)), error
    print(f"{name}: {dict(outcomes)}")
    assert outcomes["bad"] and outcomes["read"]


def test_damaged_back_off_models(tmp_path, fuzz_cases):
    _fuzz(tmp_path, fuzz_cases(300), "it.arpa", ARPA, read_arpa)


def test_damaged_metrics(tmp_path, fuzz_cases):
    _fuzz(tmp_path, fuzz_cases(300), "metrics.jsonl", METRICS, read_curves)


def test_damaged_corpora(tmp_path, fuzz_cases):
    text = " = Title = \n One . Two ?\n\n = = Heading = = \n Three @-@ 茶 . \n".encode()
    _fuzz(tmp_path, fuzz_cases(300), "it.txt", text, read_documents)


def test_damaged_llama2c_files(tmp_path, fuzz_cases):
    """Models of a few bytes; whatever a header says is refused before it is built."""
    tokenizer = struct.pack("<i", 6) + b"".join(
        struct.pack("<fi", -number, 6) + b"<0x%02X>" % (number % 256) for number in range(259)
    )
    _fuzz(tmp_path, fuzz_cases(300), "tok.bin", tokenizer, load_llama2c_tokenizer)
    sizes = (4, 4, 1, 1, 1, 3, 2)
    numbers = 3 * 4 + 4 + 4 * 16 + 4 + 3 * 16 + 4 + 2 * 2 * 2
    model = struct.pack("<7i", *sizes) + np.ones(numbers, "<f4").tobytes()
    outcomes = collections.Counter()
    file, dice = tmp_path / "model.bin", random.Random(0)
    for _ in range(fuzz_cases(300)):
        data = mutate(model, dice)
        if data[:28] == model[:28] and len(data) == len(model):
            continue  # a model that is built: seconds, and no matter of reading
        file.write_bytes(data)
        with pytest.raises(ValueError, match=re.escape(str(file))):
            load_llama2c(file)
            outcomes["read"] += 1
    assert not outcomes
