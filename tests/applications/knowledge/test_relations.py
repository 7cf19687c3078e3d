"""Relations of texts: readers on hand-made files, and scores that were worked out by hand."""

from __future__ import annotations

import pytest

from tfalign.applications.knowledge.relations import (
    RelationRecord,
    marked,
    micro_scores,
    read_sanwen,
    read_semeval,
    semeval_score,
)
from tfalign.data import BadRecordError


def test_sanwen(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(
        "幽兰\t山谷\tLocated\t“幽兰在山谷，本自无人识。\n母亲\t母亲节\tunknown\t母亲的母亲节\n"
    )
    flower, day = read_sanwen(path)
    assert flower.entities == ("幽兰", "山谷") and flower.relation == "Located"
    assert marked(flower) == "“[E1]幽兰[/E1]在[E2]山谷[/E2]，本自无人识。"
    assert (day.head, day.tail) == ((0, 2), (3, 6))
    path.write_text("甲\t乙\tNear\t甲和丙\n甲\t乙\tNear\t甲和乙\n")
    with pytest.raises(BadRecordError, match="train.txt:1: the entity .* Received: '乙'"):
        read_sanwen(path)
    assert len(read_sanwen(path, on_bad="skip")) == 1
    path.write_text("甲\t乙\t甲和乙\n")
    with pytest.raises(BadRecordError, match="train.txt:1: head, tail"):
        read_sanwen(path)


def test_entities_in_each_other_are_marked():
    inner = RelationRecord("New York City", (0, 13), (0, 8), "")
    assert marked(inner) == "[E1][E2]New York[/E2] City[/E1]"
    outer = RelationRecord("New York City", (4, 8), (0, 8), "")
    assert marked(outer) == "[E2]New [E1]York[/E1][/E2] City"
    beside = RelationRecord("ab", (0, 1), (1, 2), "")
    assert marked(beside) == "[E1]a[/E1][E2]b[/E2]"


def test_semeval(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(
        '1\t"An <e1>array</e1> of <e2>aerials</e2>."\nComponent-Whole(e2,e1)\nComment: none\n\n'
        '2\t"<e2>Tea</e2> in a <e1>cup</e1>."\nOther\nComment:\n\n3\t"A <e1>b</e1> <e2>c</e2>"\n'
    )
    array, cup, unanswered = read_semeval(path)
    assert array == ("An array of aerials.", (3, 8), (12, 19), "Component-Whole(e2,e1)")
    assert cup.entities == ("cup", "Tea") and cup.relation == "Other"
    assert unanswered.relation == ""
    path.write_text('1\t"An <e1>array</e1>."\nOther\n')
    with pytest.raises(BadRecordError, match="train.txt:1: <e1> and <e2>"):
        read_semeval(path)
    path.write_text("Other\n")
    with pytest.raises(BadRecordError, match="train.txt:1: a numbered sentence"):
        read_semeval(path)


def test_the_official_score_by_hand():
    """Cause-Effect: 2 of 3 predicted and of 3 right; Member: 0, its direction is wrong; Other is left out."""
    right = ["Cause(e1,e2)", "Cause(e1,e2)", "Cause(e2,e1)", "Member(e1,e2)", "Other", "Other"]
    predicted = [
        "Cause(e1,e2)",
        "Cause(e2,e1)",
        "Cause(e2,e1)",
        "Member(e2,e1)",
        "Other",
        "Member(e1,e2)",
    ]
    assert semeval_score(right, predicted) == pytest.approx((2 / 3 + 0) / 2)
    assert semeval_score(right, right) == 1
    assert semeval_score(right, ["Other"] * 6) == 0
    with pytest.raises(ValueError, match="1 predictions, 6 answers"):
        semeval_score(right, ["Other"])
    with pytest.raises(ValueError, match="other than Other"):
        semeval_score(["Other"], ["Other"])


def test_the_real_file(shared_data):
    records = read_sanwen(shared_data / "zh-relations" / "SanWen_valid.txt", on_bad="skip")
    assert len(records) == 1793
    relations = [record.relation for record in records]
    assert len(set(relations)) == 10 and "unknown" in relations
    assert micro_scores(relations, relations)["f1"] == 1
