"""Classes, tags and similarities: from files, and encoded."""

from __future__ import annotations

import numpy as np
import pytest

from tfalign.data import (
    BadRecordError,
    BatchStream,
    ClassRecord,
    SimilarityRecord,
    TaggedRecord,
    encode_classes,
    encode_similarities,
    encode_tags,
    read_records,
)
from tfalign.text import train_word_piece

TOKENIZER = train_word_piece(["the cat sat there", "a dog sat"] * 3, 60)
CLS, SEP, PAD = TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.pad_id


def write(tmp_path, name, data):
    (tmp_path / name).write_bytes(data.encode())
    return str(tmp_path / name)


def test_tables_with_a_header_and_without(tmp_path):
    path = write(tmp_path, "it.csv", 'text,label\r\n"two\nlines, here",pos\r\nx,1\r\n')
    assert list(read_records(f"csv:{path}", ClassRecord)) == [
        ClassRecord("two\nlines, here", "pos", f"{path}:2"),
        ClassRecord("x", "1", f"{path}:4"),
    ]
    path = write(tmp_path, "it.tsv", 'a "quoted" one\tb\t2.5\n')
    source = f"cells:{path}?first=0&second=1&score=2"
    expected = SimilarityRecord('a "quoted" one', "b", 2.5, f"{path}:1")
    assert read_records(source, SimilarityRecord)[0] == expected
    path = write(tmp_path, "bad.csv", "a,b,much\n")
    with pytest.raises(BadRecordError, match="bad.csv:1: the field '2' must be a finite number"):
        read_records(f"cells:{path}?first=0&second=1&score=2", SimilarityRecord)


def test_tagged_words(tmp_path):
    """The last column is the tag; blank lines, and lines of a tab alone, end sentences."""
    path = write(tmp_path, "it.conll", "\nthe\tx\tO\ncat\tx\tB-pet\n\t\na\tx\tO\r\n\n\n")
    assert list(read_records(f"conll:{path}", TaggedRecord)) == [
        TaggedRecord(("the", "cat"), ("O", "B-pet"), f"{path}:2"),
        TaggedRecord(("a",), ("O",), f"{path}:5"),
    ]
    rows = '{"words": ["a", "b"], "tags": ["O"]}'
    with pytest.raises(BadRecordError, match="every word needs a tag. Received: 2 words and 1"):
        read_records(write(tmp_path, "it.jsonl", rows), TaggedRecord)


def test_published_files(shared_data):
    def count(source, kind):
        return len(read_records(source, kind))

    tags = shared_data / "wnut17"
    assert count(f"conll:{tags / 'wnut17train.conll'}", TaggedRecord) == 3_394
    assert count(f"conll:{tags / 'emerging.test.annotated'}", TaggedRecord) == 1_287
    columns = "?first=0&second=1&score=2"
    pairs = f"cells:{shared_data / 'stsb' / 'stsb-en-test.csv'}{columns}"
    assert count(pairs, SimilarityRecord) == 1_379


def test_classes_are_numbers_and_long_texts_are_cut():
    records = [ClassRecord("the cat", "b"), ClassRecord("the dog sat there", "a")]
    examples = encode_classes(records, TOKENIZER, ["a", "b"], max_tokens=4)
    (batch,) = BatchStream(examples, 2, [5], epochs=1)
    whole = TOKENIZER.encode("the dog sat there")
    assert batch.token_ids.tolist() == [
        [CLS, *TOKENIZER.encode("the cat"), SEP, PAD],
        [CLS, *whole[:2], SEP, PAD],
    ]
    assert batch.labels.tolist() == [1, 0]
    assert batch.padding_mask.sum(axis=1).tolist() == [4, 4]
    with pytest.raises(ValueError, match="must be one of a, c. Received: 'b'"):
        encode_classes(records, TOKENIZER, ["a", "c"], 4)


def test_a_long_text_may_be_read_in_windows():
    records = [ClassRecord("the cat sat there a dog", "a"), ClassRecord("", "b")]
    long = TOKENIZER.encode(records[0].text)
    assert len(long) == 6
    examples = encode_classes(records, TOKENIZER, ["a", "b"], max_tokens=6, windows=3)
    # two windows of four would do; they are equally long
    expected = [[CLS, *long[:3], SEP], [CLS, *long[3:], SEP], [CLS, SEP]]
    assert [examples.tokens[row].tolist() for row in range(3)] == expected
    assert examples.texts.tolist() == [0, 0, 1] and examples.labels.tolist() == [0, 0, 1]
    assert [record.label for record in examples.records] == ["a", "a", "b"]
    cut = encode_classes(records, TOKENIZER, ["a", "b"], max_tokens=4, windows=2)
    assert cut.tokens[1].tolist() == [CLS, *long[2:4], SEP]
    with pytest.raises(ValueError, match="at least one window. Received: windows=0"):
        encode_classes(records, TOKENIZER, ["a", "b"], 6, 0)


def test_a_tag_stands_at_its_words_first_token():
    record = TaggedRecord(("the", "therere", "", "sat"), ("O", "B", "O", "I"))
    examples = encode_tags([record], TOKENIZER, ["O", "B", "I"], max_tokens=20)
    pieces = [len(TOKENIZER.encode(word)) or 1 for word in record.words]
    assert pieces[1] > 1
    (batch,) = BatchStream(examples, 1, [20], epochs=1)
    at_words = np.flatnonzero(batch.is_word[0])
    assert at_words.tolist() == (1 + np.cumsum([0, *pieces[:-1]])).tolist()
    assert batch.labels[0][at_words].tolist() == [0, 1, 0, 2]
    assert batch.token_ids[0][at_words[2]] == TOKENIZER.unk_id  # a word without tokens
    assert batch.labels[0][~batch.is_word[0]].tolist() == [0] * (20 - 4)
    cut = encode_tags([record], TOKENIZER, ["O", "B", "I"], max_tokens=3)
    assert cut.tokens[0].tolist()[-1] == SEP and (cut.tags[0] >= 0).tolist() == [False, True, False]


NO_SIZE = [0, -1, 2, float("nan"), 16.5, "16", True]


@pytest.mark.parametrize("size", NO_SIZE)
def test_sizes_that_leave_no_room_for_text_are_refused(size):
    """A row needs CLS, SEP and one token between them."""
    with pytest.raises(ValueError, match=r"max_tokens must be a whole number, at least 3"):
        encode_classes([ClassRecord("the cat", "a")], TOKENIZER, ["a"], size)
    with pytest.raises(ValueError, match="Received: max_tokens="):
        encode_tags([TaggedRecord(("the",), ("O",))], TOKENIZER, ["O"], size)
    with pytest.raises(ValueError, match="Received: max_tokens="):
        encode_similarities([SimilarityRecord("the", "a", 1.0)], TOKENIZER, 5.0, size)


@pytest.mark.parametrize("windows", [0, -1, float("nan"), 1.5])
def test_windows_are_whole(windows):
    with pytest.raises(ValueError, match="at least one window. Received: windows="):
        encode_classes([ClassRecord("the cat", "a")], TOKENIZER, ["a"], 8, windows)


@pytest.mark.parametrize("highest", [0.0, -1.0, float("nan"), float("inf")])
def test_the_highest_similarity_is_a_number_to_divide_by(highest):
    with pytest.raises(ValueError, match="highest must be positive and finite. Received: highest="):
        encode_similarities([SimilarityRecord("the", "a", 1.0)], TOKENIZER, highest, 8)


@pytest.mark.parametrize("score", [-0.1, 5.5])
def test_a_score_beyond_the_highest_is_told(score):
    record = SimilarityRecord("the", "a", score, "it.csv:3")
    with pytest.raises(ValueError, match=r"it.csv:3: a score lies in \[0, 5.0\]. Received: "):
        encode_similarities([record], TOKENIZER, 5.0, 8)


def test_similarities_are_shares_of_the_highest():
    records = [SimilarityRecord("the cat", "a dog", 2.5)]
    examples = encode_similarities(records, TOKENIZER, 5.0, 10)
    (batch,) = BatchStream(examples, 1, [8], epochs=1)
    assert batch.similarity.tolist() == [0.5]
    ends = [row[mask].tolist() for row, mask in zip(batch[0:3:2], batch[1:4:2])]
    for row, text in zip(ends, ("the cat", "a dog")):
        assert row == [CLS, *TOKENIZER.encode(text), SEP]
