"""Formats of text are made of ASCII: what only Unicode holds to be a space belongs to the words."""

from __future__ import annotations

import json

import pytest

from tests.data.readers.reading import skipped, write
from tfalign.data import (
    ClassRecord,
    TaggedRecord,
    TextRecord,
    read_corpus,
    read_documents,
    read_records,
)
from tfalign.text import train_words

ODD_SPACES = "\u00a0\u1680\u2003\u2028\u2029\u202f\u3000\x85\x1c\x1d\x1e\x1f"


@pytest.mark.parametrize("space", ODD_SPACES)
@pytest.mark.parametrize("separator", ["\t", " "])
def test_a_space_of_unicode_belongs_to_a_word(tmp_path, space, separator):
    lines = [
        f"10{space}000{separator}B-x",
        f"{space}{separator}O",
        f"b{separator}I-x",
        "",
        f"c{separator}O",
    ]
    path = write(tmp_path / "it.conll", "\n".join(lines))
    assert list(read_records(f"conll:{path}", TaggedRecord)) == [
        TaggedRecord((f"10{space}000", space, "b"), ("B-x", "O", "I-x"), f"{path}:1"),
        TaggedRecord(("c",), ("O",), f"{path}:5"),
    ]


@pytest.mark.parametrize("space", ODD_SPACES)
def test_a_space_of_unicode_is_part_of_a_counted_word(space):
    word = f"10{space}000"
    tokenizer = train_words([f"a {word}\tb\n", f"{space} a"])
    assert [tokenizer.token(i) for i in tokenizer.encode(f"{word} b\f{space}")] == [
        word,
        "b",
        space,
    ]
    assert tokenizer.vocab_size == 4 + len(tokenizer.special_ids)


@pytest.mark.parametrize("space", ODD_SPACES)
def test_a_space_of_unicode_ends_no_line_and_no_document(tmp_path, space):
    text = f"one{space}two"
    rows = [{"text": text}, {"text": "three"}]
    path = write(
        tmp_path / "it.jsonl", "\n".join(json.dumps(r, ensure_ascii=ord(space) < 32) for r in rows)
    )
    assert [r.text for r in read_records(path, TextRecord)] == [text, "three"]
    path = write(tmp_path / "it.txt", f"{text}\n{space}\nthree\n \nfour")
    assert [r.text for r in read_records(f"text:{path}", TextRecord)] == [
        f"{text}\n{space}\nthree",
        "four",
    ]
    assert read_corpus(path) == [f"{text}\n", f"{space}\n", "three\n", " \n", "four"]
    assert len(read_documents(path)) == 2
    path = write(tmp_path / "it.csv", f"text,label\n{text},{space}x\n")
    assert read_records(f"csv:{path}", ClassRecord)[0] == ClassRecord(
        text, f"{space}x", f"{path}:2"
    )


def test_conll_columns_are_those_of_the_file(tmp_path):
    """Spaces separate where there are no tabs; a line of fewer or more columns spoils its sentence."""
    text = "-DOCSTART- -X- O\n\na NN O\nb NN B-x\n\nc O\nd NN O\n\n e  NN\tI-x \r\n\nf NN B x\n\ng NN O\n"
    path = write(tmp_path / "it.conll", text)
    good, bad = skipped(f"conll:{path}", TaggedRecord)
    assert [(r.words, r.tags) for r in good] == [
        (("a", "b"), ("O", "B-x")),
        (("e",), ("I-x",)),
        (("g",), ("O",)),
    ]
    assert [line for line, _ in bad] == ["6", "11"]
    assert bad[0][1].startswith("a line needs a word and a tag in 3 columns. Received: 'c O")
    path = write(tmp_path / "it.conll", "a\tO\nb\n\nc\tO\n")
    assert skipped(f"conll:{path}", TaggedRecord)[1][0][0] == "2"
