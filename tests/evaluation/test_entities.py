"""Entities: CoNLL's rules by hand, and scores."""

import pytest

from tfalign.evaluation.entities import entities, score_entities


@pytest.mark.parametrize(
    "tags, expected",
    [
        ("O O", []),
        ("B-x I-x O", [("x", 0, 2)]),
        ("B-x B-x", [("x", 0, 1), ("x", 1, 2)]),
        ("I-x I-x", [("x", 0, 2)]),  # no B before: begins one all the same
        ("B-x I-y I-y", [("x", 0, 1), ("y", 1, 3)]),
        ("O B-x O I-x", [("x", 1, 2), ("x", 3, 4)]),
        ("B-x", [("x", 0, 1)]),
    ],
)
def test_spans(tags, expected):
    assert sorted(entities(tags.split())) == expected


def test_an_entity_is_right_only_with_both_ends_and_its_kind():
    actual = [["B-x", "I-x", "O", "B-y"], ["O", "B-x"]]
    predicted = [["B-x", "I-x", "O", "B-x"], ["B-x", "I-x"]]
    scores = score_entities(predicted, actual)
    assert (scores.right, scores.found, scores.present) == (1, 3, 3)
    assert (scores.precision, scores.recall) == (1 / 3, 1 / 3)
    assert scores.f1 == pytest.approx(1 / 3)
    assert score_entities([["O"]], [["O"]]).f1 == 0


def test_sentences_must_agree():
    with pytest.raises(ValueError, match="A sentence of 2 words got 1 tags"):
        score_entities([["O"]], [["O", "O"]])
