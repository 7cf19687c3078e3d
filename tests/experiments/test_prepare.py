"""Real data cut for the pipeline: who may see which labels, and the judge's arithmetic."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from experiments.tasks import classify_movie_reviews, prepare_hh_rlhf, prepare_movie_reviews
from experiments.tasks.prepared import both_splits
from tfalign.evaluation.naive_bayes import NaiveBayes


def rows(folder, kind, split):
    lines = (folder / f"{kind}.{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def reviews(tmp_path):
    """One review of each label in each of the ten folds; its words name it and its sentences."""
    for label in ("pos", "neg"):
        (tmp_path / "source" / label).mkdir(parents=True)
        for fold in range(10):
            name = f"{label}{fold}"
            text = f"{name} one two three .\n{name} four .\n{name} left over .\n"
            (tmp_path / "source" / label / f"cv{fold}00_123.txt").write_text(text)
    out = tmp_path / "out"
    prepare_movie_reviews.main(
        prepare_movie_reviews.PrepareConfig(
            str(tmp_path / "source"), str(out), words=6, longest=8, opening=2
        )
    )
    return out


def test_passages_are_whole_sentences_and_long_ones_are_left_out(reviews):
    texts = [row["text"] for row in rows(reviews, "labelled", "test")]
    assert texts == [
        f"Review: {label}{fold} one two three . {label}{fold} four ."
        for label in ("neg", "pos")
        for fold in (8, 9)
    ]


def test_long_passages_are_counted(tmp_path, capsys):
    (tmp_path / "pos").mkdir()
    for fold in (0, 4, 8):
        (tmp_path / "pos" / f"cv{fold}00_1.txt").write_text("a b c .\nd e f g h i j .\n")
    config = prepare_movie_reviews.PrepareConfig(
        str(tmp_path), str(tmp_path / "out"), words=3, longest=5
    )
    prepare_movie_reviews.main(config)
    assert "3 of more than 5 words left out" in capsys.readouterr().out


def test_reward_judge_and_test_share_no_review(reviews):
    def folds(texts):
        return {word[-1] for text in texts for word in text.split() if word[:3] in ("pos", "neg")}

    preferences = {
        split: folds(row[side] for row in rows(reviews, "preferences", split) for side in row)
        for split in ("train", "test")
    }
    judge = json.loads((reviews / "judge.json").read_text())
    assert preferences == {"train": set("0123"), "test": set("89")}
    assert folds(judge) == set("4567")
    for kind, field in (("text", "text"), ("sft", "prompt"), ("prompts", "prompt")):
        assert folds(row[field] for row in rows(reviews, kind, "train")) == set("01234567")
        assert folds(row[field] for row in rows(reviews, kind, "test")) == set("89")


def test_preferences_are_positive_over_negative_and_openings_join_up(reviews):
    for row in rows(reviews, "preferences", "train"):
        assert row["prompt"] == "Review:"
        assert row["chosen"].startswith(" pos") and row["rejected"].startswith(" neg")
    whole = {row["prompt"] + row["completion"] for row in rows(reviews, "sft", "test")}
    assert whole == {row["text"] for row in rows(reviews, "labelled", "test")}


def test_a_file_of_another_name_is_an_error(tmp_path):
    (tmp_path / "other.txt").write_text("a b c")
    with pytest.raises(ValueError, match="Received: .*other.txt"):
        prepare_movie_reviews.main(prepare_movie_reviews.PrepareConfig(str(tmp_path)))


def test_naive_bayes_by_hand(tmp_path):
    judge = NaiveBayes.fit(["good film", "good good plot"], ["bad film", "bad"])
    # texts with a word, plus one, over all counts (4 and 3) plus the 4 words
    expected = {"good": (3 / 8) / (1 / 7), "bad": (1 / 8) / (3 / 7), "film": (2 / 8) / (2 / 7)}
    for word, odds in expected.items():
        assert judge.weights[word] == pytest.approx(math.log(odds))
    assert judge("bad", "good good film unseen") == pytest.approx(
        math.log(expected["good"]) + math.log(expected["film"])
    )
    judge.save(tmp_path / "judge.json")
    assert NaiveBayes.load(tmp_path / "judge.json").weights == judge.weights


def test_dialogues_with_one_opening_stay_together(tmp_path, capsys):
    def turns(opening, depth, answer):
        middle = "\n\nAssistant: yes\n\nHuman: more" * depth
        return f"\n\nHuman: {opening}{middle}\n\nAssistant: {answer}"

    source = tmp_path / "pairs.jsonl"
    pairs = [
        {"chosen": turns(opening, depth, "good"), "rejected": turns(opening, depth, "poor")}
        for opening in range(40)
        for depth in range(3)
    ]
    pairs.append({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "no turn"})
    source.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    config = prepare_hh_rlhf.PrepareConfig(str(source), str(tmp_path / "out"), test_fraction=0.3)
    prepare_hh_rlhf.main(config)
    train, test = (rows(tmp_path / "out", "preferences", split) for split in ("train", "test"))
    assert len(train) + len(test) == 120 and min(len(train), len(test)) > 0
    assert len(train) % 3 == 0  # all depths of an opening or none
    assert "1 skipped" in capsys.readouterr().out
    text = rows(tmp_path / "out", "text", "test")
    assert [row["text"] for row in text] == [row["prompt"] + row["chosen"] for row in test]


def test_both_splits_is_what_the_pipeline_reads():
    train, test = both_splits("folder", "sft").split("::")
    assert (train, test) == ("folder/sft.train.jsonl", "folder/sft.test.jsonl")


def test_a_review_is_judged_by_the_mean_of_its_passages():
    values, positive = classify_movie_reviews._by_review(
        values=[3.0, -1.0, -2.0], positive=np.array([True, True, False]), reviews=["a", "a", "b"]
    )
    assert values.tolist() == [1.0, -2.0] and positive.tolist() == [True, False]
