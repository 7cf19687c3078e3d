"""Running text from files, its tokens, and what is said of files that are no good."""

from __future__ import annotations

import gzip

import pytest

from tfalign.data import encode_lines, encode_running_text, read_corpus
from tfalign.text import train_characters, train_words

TEXT = "the cat sat\n\n the dog \n"


@pytest.mark.parametrize("name", ["it.txt", "it.txt.gz"])
def test_lines_of_words(tmp_path, name):
    data = TEXT.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    lines = read_corpus(tmp_path / name)
    assert lines == ["the cat sat\n", "\n", " the dog \n"]
    words = train_words(lines)
    assert [words.token(i) for i in range(6)] == ["<eos>", "<unk>", "the", "cat", "dog", "sat"]
    assert encode_lines(lines, words).tolist() == [0, 2, 3, 5, 0, 0, 2, 4, 0]
    assert words.decode([2, 3, 4]) == "the cat dog"


def test_words_beyond_the_vocabulary_are_unknown():
    words = train_words([TEXT], vocab_size=3)
    assert words.encode("the cat <unk> <eos> dog") == [2, 1, 1, 1, 1]


def test_running_text_of_characters(tmp_path):
    characters = train_characters([TEXT])
    tokens = encode_running_text([TEXT], characters)
    assert tokens[0] == characters.eos_id and len(tokens) == len(TEXT) + 1
    assert characters.decode(tokens[1:]) == TEXT
    assert characters.encode("tz") == [characters.encode("t")[0], characters.unk_id]
    characters.save(tmp_path)
    assert type(characters).load(tmp_path).encode(TEXT) == characters.encode(TEXT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a corpus needs text. Received: 0 blank lines"),
        (b" \n\n", "a corpus needs text. Received: 2 blank lines"),
        (b"fine\nbro\xffken\n", r"it.txt:2: the line is not UTF-8 \(byte 0xff at byte 3\)"),
    ],
)
def test_a_file_that_is_no_good_is_told(tmp_path, data, message):
    (tmp_path / "it.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_corpus(tmp_path / "it.txt")


def test_a_damaged_or_missing_file_is_told(tmp_path):
    whole = gzip.compress(TEXT.encode() * 100)
    for data in (whole[:-9], b"no gzip at all"):
        (tmp_path / "it.txt.gz").write_bytes(data)
        with pytest.raises(ValueError, match="damaged gzip file"):
            read_corpus(tmp_path / "it.txt.gz")
    with pytest.raises(FileNotFoundError, match="There is no file .*none.txt"):
        read_corpus(tmp_path / "none.txt")
