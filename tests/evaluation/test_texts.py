"""Measures of texts against tables worked by hand, and sacrebleu's own examples."""

from __future__ import annotations

import math

import pytest

from tfalign.evaluation.texts import (
    bleu,
    chrf,
    distinct,
    readability,
    rouge_l,
    self_bleu,
    sentence_length,
)


@pytest.mark.parametrize(
    ("text", "references", "precision", "recall"),
    [
        (
            "police killed the gunman",
            ["police kill the gunman"],
            3 / 4,
            3 / 4,
        ),  # Lin 2004, S1 and S2
        ("the gunman kill police", ["police kill the gunman"], 2 / 4, 2 / 4),  # and S3
        ("a b c", ["x y", "a c"], 2 / 3, 1.0),  # the best reference
        ("红色的裙子", ["红色裙子"], 4 / 5, 1.0),
        ("a", ["b"], 0.0, 0.0),
        ("", ["b"], 0.0, 0.0),
    ],
)
def test_rouge_l(text, references, precision, recall):
    expected = 0.0
    if precision:
        expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(text, references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a b c"], 1, 1.0),
        (["a a a a"], 1, 0.25),
        (["a a a a"], 2, 1 / 3),
        (["好好", "好"], 1, 1 / 3),
        (["a"], 2, 0.0),
        ([], 1, 0.0),
    ],
)
def test_distinct(texts, n, expected):
    assert distinct(texts, n) == pytest.approx(expected)


def test_lengths_and_readability():
    assert sentence_length("One two three. Four!") == 2.0
    assert sentence_length("... !") == sentence_length("") == readability("") == 0.0
    # 8 letters in 3 words, one sentence
    assert readability("Ann eats it.") == pytest.approx(4.71 * 9 / 3 + 0.5 * 3 - 21.43)


def test_bleu_by_hand():
    """6 of 7 words, 4 of 6 pairs, 3 of 5 triples, 2 of 4 fours; no text is too short."""
    pytest.importorskip("sacrebleu")
    text, reference = "the cat sat on the red mat", "the cat sat on the mat"
    precisions = 6 / 7 * 4 / 6 * 3 / 5 * 2 / 4
    assert bleu([text], [[reference]]) == pytest.approx(100 * precisions**0.25)
    short = 100 * math.exp(1 - 7 / 6)  # all right, and one word in seven is missing
    assert bleu(["a b c d e f"], [["a b c d e f g"]]) == pytest.approx(short)
    assert bleu(["THE CAT SAT ON IT"], [["no", "the cat sat on it"]]) == pytest.approx(100)
    assert bleu(["红色的裙子"], [["红色的裙子"]], "zh") == pytest.approx(100)
    assert chrf(["abc"], [["abc"]]) == pytest.approx(100)
    assert chrf(["xyz"], [["abc"]]) == 0


def test_self_bleu():
    pytest.importorskip("sacrebleu")
    assert self_bleu(["a b c d e"] * 3) == pytest.approx(100)
    assert self_bleu(["a b c d e", "f g h i j"]) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="two texts at least. Received: 1"):
        self_bleu(["a"])
    with pytest.raises(ValueError, match="Received: 1 texts, 0 lists"):
        bleu(["a"], [])
