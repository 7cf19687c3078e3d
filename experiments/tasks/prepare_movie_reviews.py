"""Splits the movie reviews (Pang and Lee 2004) into JSON lines for the pipeline.

    python -m experiments.tasks.prepare_movie_reviews --source=$DATA/movie_reviews/movie_reviews.zip
    python -m experiments.pipeline --config=movie_reviews

The reviews are split by their published cross-validation folds (the number in their names), so that the
judge shares no labels with the reward: labels of folds 1-4 make the preferences that the reward model is
trained on, labels of folds 5-8 the judge, and folds 9-10 are held out from both.

A passage is a run of whole sentences of at least --words words. The language model is pretrained on whole
reviews, then fine-tuned (sft) to continue passages from their first words; a preference is a passage of a
positive review over one of a negative review; a prompt is the beginning of a passage. Writes text, sft,
preferences and prompts as OUTPUT/KIND.SPLIT.jsonl, the held-out passages with their labels as
OUTPUT/labelled.test.jsonl, and the judge as OUTPUT/judge.json. Seconds.

Result: after the pipeline, the judge prefers PPO's passages in 69% of 512 prompts
(docs/results/movie_reviews.md).
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from experiments.launch import launch
from experiments.tasks.prepared import write_kinds
from tfalign.data import TextRecord, read_records
from tfalign.evaluation.naive_bayes import NaiveBayes
from tfalign.files import local_path
from tfalign.options import option, option_record

HEAD = "Review:"
LABELS = ("pos", "neg")
FOLDS = {"reward": range(0, 4), "judge": range(4, 8), "test": range(8, 10)}


@option_record
class PrepareConfig:
    source: str = option(
        "movie_reviews.zip", "Zip file or folder with pos/cvNNN_*.txt and neg/cvNNN_*.txt."
    )
    output: str = option("runs/movie_reviews_data", "Directory of the written JSON lines.")
    words: int = option(20, "Minimum length of a passage, words.", at_least=1)
    longest: int = option(
        40,
        "Maximum length of a passage, words; longer ones are left out and counted.",
        at_least=1,
    )
    opening: int = option(6, "Prompt length, words.", at_least=1)
    on_bad: str = option(
        "stop", "Bad records: stop at the first, or skip and count.", ("stop", "skip")
    )


@dataclasses.dataclass(frozen=True)
class Review:
    """One review; ``label`` is in LABELS, ``part`` in FOLDS, ``passages`` are lists of words."""

    name: str
    label: str
    part: str
    text: str
    passages: list[list[str]]


def main(config):
    records = read_records(f"text:{config.source}", TextRecord, config.on_bad)
    print(f"reviews: {records.summary()}")
    reviews = [_review(record, config) for record in records]
    too_long = sum(len(p) > config.longest for review in reviews for p in review.passages)
    print(f"passages: {too_long} of more than {config.longest} words left out")
    shuffled = np.random.default_rng(0)
    for split, parts in {"train": ("reward", "judge"), "test": ("test",)}.items():
        chosen = [review for review in reviews if review.part in parts]
        labelled = [review for review in chosen if review.part != "judge"]
        kinds = {"text": [{"text": f"{HEAD} {review.text}"} for review in chosen]}
        kinds |= _openings(_passages(chosen, config), config.opening, shuffled)
        kinds |= {"preferences": _preferences(labelled, config, shuffled)}
        if split == "test":
            kinds["labelled"] = _labelled(chosen, config)
        write_kinds(config.output, split, kinds)
    judge = NaiveBayes.fit(
        *(
            [" ".join(p) for p in _passages(reviews, config, part="judge", label=label)]
            for label in LABELS
        )
    )
    judge.save(local_path(config.output) / "judge.json")


def _review(record, config):
    """The Review of a record, whose source names its label and its fold."""
    match = re.search(r"(pos|neg)/(cv(\d)\d\d_\d+)\.txt", record.source)
    if match is None:
        raise ValueError(
            f"Reviews are named pos/cvNNN_NNNNN.txt or neg/... Received: {record.source}"
        )
    label, name, fold = match.groups()
    part = next(part for part, folds in FOLDS.items() if int(fold) in folds)
    text = " ".join(record.text.split())
    return Review(name, label, part, text, _cut(record.text, config.words))


def _cut(text, words):
    """Splits a text into passages: whole sentences (lines) until there are enough words; the rest is dropped."""
    passages, passage = [], []
    for sentence in text.splitlines():
        passage = passage + sentence.split()
        if len(passage) >= words:
            passages.append(passage)
            passage = []
    return passages


def _passages(reviews, config, part=None, label=None):
    """All passages of the reviews that are not too long, optionally of one part or label."""
    return [
        passage
        for review in reviews
        if part in (None, review.part) and label in (None, review.label)
        for passage in review.passages
        if len(passage) <= config.longest
    ]


def _openings(passages, opening, shuffled):
    """Splits each passage into a prompt, its first words, and a completion, in random order."""
    order = shuffled.permutation(len(passages))
    cut = [(passages[i][:opening], passages[i][opening:]) for i in order]
    rows = [{"prompt": f"{HEAD} {' '.join(p)}", "completion": f" {' '.join(c)}"} for p, c in cut]
    return {"sft": rows, "prompts": [{"prompt": row["prompt"]} for row in rows]}


def _preferences(reviews, config, shuffled):
    """Pairs of a positive and a negative passage, each in at most one pair."""
    sides = [_passages(reviews, config, label=label) for label in LABELS]
    pairs = zip(*(shuffled.permutation(len(side)) for side in sides))
    chosen, rejected = ([" " + " ".join(passage) for passage in side] for side in sides)
    return [{"prompt": HEAD, "chosen": chosen[c], "rejected": rejected[r]} for c, r in pairs]


def _labelled(reviews, config):
    """The passages of the reviews with their labels."""
    return [
        {"review": review.name, "label": review.label, "text": f"{HEAD} {' '.join(passage)}"}
        for review in reviews
        for passage in _passages([review], config)
    ]


if __name__ == "__main__":
    launch(PrepareConfig, main, __doc__)
