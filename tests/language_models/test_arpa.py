"""ARPA files: what is written is read again, files of others are read, and broken ones are told."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest

from tfalign.files import directories
from tfalign.language_models import (
    add_k,
    count_ngrams,
    katz,
    kneser_ney,
    read_arpa,
    write_arpa,
)

WORDS = ["</s>", "the", "cat", "sat", "naïve"]
FILE = """\
made by hand

\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-99\t<s>\t-0.30103
-0.60206\t</s>
-0.30103 the -0.5
-0.60206 cat

\\2-grams:
-0.1 <s> the
-0.2\tthe cat
-0.4 cat </s>

\\end\\
"""


def counts():
    rng = np.random.default_rng(0)
    return count_ngrams(np.array([0, *rng.integers(0, 4, 300)]), 3, 5, boundary=0)


@pytest.mark.parametrize("name", ["it.arpa", "it.arpa.gz"])
@pytest.mark.parametrize("smoothing", [kneser_ney, katz])
@pytest.mark.filterwarnings("ignore:Counts of counts")
def test_what_was_written_is_read_again(tmp_path, smoothing, name):
    model = smoothing(counts())
    write_arpa(model, WORDS, tmp_path / name)
    again, words = read_arpa(tmp_path / name)
    assert words == WORDS and again.boundary == 0 and again.order == 3
    text = np.random.default_rng(1).integers(0, 5, (2, 50))
    np.testing.assert_allclose(again.token_log_probs(text), model.token_log_probs(text), rtol=1e-7)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_file_of_others_is_read(tmp_path):
    (tmp_path / "it.arpa").write_text(FILE)
    model, words = read_arpa(tmp_path / "it.arpa")
    assert words == ["</s>", "the", "cat"] and model.boundary == 0
    # <s> the cat </s>: three bigrams; then <s> cat: backs off; the the: backs off
    log10 = model.token_log_probs(np.array([[0, 1, 2, 0, 2], [0, 1, 1, 2, 2]])) / math.log(10)
    expected = [[-0.1, -0.2, -0.4, -0.30103 - 0.60206], [-0.1, -0.5 - 0.30103, -0.2, -0.60206]]
    np.testing.assert_allclose(log10, expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", r"ends after line \d+, before \\data\\"),
        ("ngram 1=4\n", "", "the number of 1-grams is missing. Received: 'ngram 2=3'"),
        ("ngram 1=4\nngram 2=3\n", "", "the header gives no number of n-grams"),
        ("ngram 2=3", "ngram 2=4", "the header gives 4 2-grams, 3 are here"),
        ("ngram 2=3", "ngram 2=2", "it.arpa:16: the header gives 2 2-grams, here is one more"),
        ("-0.2\tthe cat", "-0.2 the", "it.arpa:15: a 2-gram needs log10 p, 2 words"),
        ("-0.2\tthe cat", "x the cat", "it.arpa:15: a 2-gram needs log10 p, 2 words"),
        ("-0.2\tthe cat", "0.2 the cat", "log10 p of 'the cat' must not be above 0"),
        ("-0.2\tthe cat", "-0.2 the cat nan", "the weight of 'the cat' must be finite"),
        ("-0.2\tthe cat", "-0.2 the cat 1e999", "the weight of 'the cat' must be finite"),
        ("-0.2\tthe cat", "-٠.٢ the cat", "it.arpa:15: a 2-gram needs log10 p, 2 words"),
        ("-0.2\tthe cat", "-0.2 the\u00a0cat", "it.arpa:15: a 2-gram needs log10 p, 2 words"),
        ("-0.2\tthe cat", "-0_1 the cat", "it.arpa:15: a 2-gram needs log10 p, 2 words"),
        ("ngram 1=4", "ngram 1=99999999999999999", "gives 99999999999999999 1-grams, 4 are here"),
        ("ngram 1=4", "ngram 1=" + "9" * 5000, "the header gives no number of n-grams"),
        ("-0.60206\t</s>", "-99\t<s>", "a 1-gram stands there twice"),
        ("-0.2\tthe cat", "nan the cat", "log10 p of 'the cat' must not be above 0"),
        ("-0.2\tthe cat", "-0.2 the dog", "'dog' of a 2-gram is no 1-gram"),
        ("-0.2\tthe cat", "-0.2 <s> the", "the 2-gram '<s> the' stands there twice"),
        ("\\2-grams:", "\\3-grams:", r"\\2-grams: should stand here"),
        ("\\end\\\n", "", r"ends after line 17, before \\end\\"),
        ("-0.60206\t</s>", "-0.60206\t.", "there is a 1-gram <s> but no </s>"),
        ("-0.60206\t</s>", "-0.60206\tcat", "a 1-gram stands there twice"),
    ],
)
def test_a_broken_file_is_told(tmp_path, old, new, message):
    assert old in FILE
    (tmp_path / "it.arpa").write_text(FILE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_arpa(tmp_path / "it.arpa")


ODD_WORDS = ["</s>", "10\u00a0000", "\u3000", "a\u2028b", "c\x85d", "\x1c", "naïve"]


@pytest.mark.filterwarnings("ignore:Counts of counts")
def test_spaces_of_unicode_are_part_of_a_word(tmp_path):
    """Only ASCII white space separates, so what is written is read again, word for word."""
    ids = np.random.default_rng(0).integers(0, len(ODD_WORDS), 300)
    model = kneser_ney(count_ngrams(np.array([0, *ids]), 3, len(ODD_WORDS), boundary=0))
    write_arpa(model, ODD_WORDS, tmp_path / "it.arpa")
    again, words = read_arpa(tmp_path / "it.arpa")
    assert words == ODD_WORDS
    np.testing.assert_allclose(
        again.token_log_probs(ids[None]), model.token_log_probs(ids[None]), rtol=1e-7
    )
    (tmp_path / "it.arpa").write_text(FILE.replace("cat", "10\u00a0000"), encoding="utf-8")
    assert read_arpa(tmp_path / "it.arpa")[1] == ["</s>", "the", "10\u00a0000"]


@pytest.mark.filterwarnings("ignore:Counts of counts")
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    model = kneser_ney(counts())
    write_arpa(model, WORDS, tmp_path / "it.arpa")
    before = (tmp_path / "it.arpa").read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directories, "sync_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_arpa(model, ["</s>", *"abcd"], tmp_path / "it.arpa")
    assert [file.name for file in tmp_path.iterdir()] == ["it.arpa"]
    assert (tmp_path / "it.arpa").read_bytes() == before
    with pytest.raises(ValueError, match="Only local paths"):
        write_arpa(model, WORDS, "hdfs://bucket/it.arpa")
    with pytest.raises(ValueError, match="Only local paths"):
        read_arpa("hdfs://bucket/it.arpa")


def test_a_trigram_without_its_context_is_told(tmp_path):
    longer = FILE.replace("ngram 2=3", "ngram 2=3\nngram 3=1")
    longer = longer.replace("\\end", "\\3-grams:\n-1 cat cat the\n\n\\end")
    (tmp_path / "it.arpa").write_text(longer)
    with pytest.raises(ValueError, match="the context of the 3-gram 'cat cat the' is not in"):
        read_arpa(tmp_path / "it.arpa")


def test_damaged_or_missing_files_are_told(tmp_path):
    (tmp_path / "it.arpa.gz").write_bytes(gzip.compress(FILE.encode())[:-20])
    with pytest.raises(ValueError, match="damaged gzip file"):
        read_arpa(tmp_path / "it.arpa.gz")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_arpa(tmp_path / "none.arpa")


@pytest.mark.filterwarnings("ignore:Counts of counts")
def test_what_cannot_be_written_is_told(tmp_path):
    with pytest.raises(ValueError, match="an add-k model does not"):
        write_arpa(add_k(counts()), WORDS, tmp_path / "it.arpa")
    model = kneser_ney(counts())
    for words, message in [
        (WORDS[:-1], "5 spellings are needed. Received: 4"),
        ([*WORDS[:-1], "a b"], "Received: 'a b'"),
        ([*WORDS[:-1], "a\0"], "without white space or NUL"),
        ([*WORDS[:-1], "cat"], "Received: 'cat'"),
        ([*WORDS[:-1], "<s>"], "Received: '<s>'"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_arpa(model, words, tmp_path / "it.arpa")
    assert not list(tmp_path.iterdir())
