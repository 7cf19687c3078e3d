"""How good are the reward and the judge of --config=movie_reviews as sentiment classifiers?

    python -m experiments.tasks.classify_movie_reviews --data_dir=runs/movie_reviews_data \\
        --reward_model=runs/movie_reviews/models/reward_model

Prints the accuracy of both on the held-out passages and, by the mean over its passages, on whole
held-out reviews. Zero divides: a reward model learned with --centering has its scores around 0
before they were normalised. Half a minute on two CPU cores.
"""

from __future__ import annotations

import json

import numpy as np

from experiments.launch import launch
from tfalign.data import BatchStream, TextRecord, encode_texts
from tfalign.evaluation.markdown import table
from tfalign.evaluation.naive_bayes import NaiveBayes
from tfalign.evaluation.statistics import wilson_interval
from tfalign.files import local_path
from tfalign.models import from_pretrained
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer
from tfalign.rewards import LearnedReward
from tfalign.trainers.data import encoded


@option_record
class ClassifyConfig:
    data_dir: str = option("runs/movie_reviews_data", "what prepare_movie_reviews wrote")
    reward_model: str = option("runs/movie_reviews/models/reward_model", "its directory")
    length: int = option(
        64, "columns of a batch; longer passages are left out and counted", at_least=1
    )
    batch_size: int = option(64, "passages scored at a time", at_least=1)


def main(config):
    rows, examples = _labelled(config)
    positive = np.array([row["label"] == "pos" for row in rows])
    reviews = np.array([f"{row['label']}/{row['review']}" for row in rows])
    judge = NaiveBayes.load(local_path(config.data_dir) / "judge.json")
    scores = {
        "reward model": _scores(config, examples),
        "judge": np.array([judge("", row["text"]) for row in rows]),
    }
    cells = [
        [name, _accuracy(values, positive), _accuracy(*_by_review(values, positive, reviews))]
        for name, values in scores.items()
    ]
    print(table(["right", "of passages", "of reviews"], cells))


def _labelled(config):
    """The held-out passages that fit: (their rows, the examples they were encoded to)."""
    file = local_path(config.data_dir) / "labelled.test.jsonl"
    rows = {
        f"{file}:{number}": json.loads(line)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    }
    records = [TextRecord(row["text"], source) for source, row in rows.items()]
    tokenizer = load_tokenizer(config.reward_model)
    limits = {"tokenizer": tokenizer, "max_tokens": config.length, "on_bad": "skip"}
    examples = encoded("passages", encode_texts, records, **limits)
    return [rows[record.source] for record in examples.records], examples


def _scores(config, examples):
    """float[N], the reward model's scores as they were before they were normalised."""
    reward = LearnedReward(from_pretrained(config.reward_model))
    entries = json.loads((local_path(config.reward_model) / "config.json").read_text())
    stream = BatchStream(
        examples, config.batch_size, [config.length], epochs=1, drop_remainder=False
    )
    scores = np.zeros(len(examples))
    for batch in stream:
        scores[stream.indices] = np.asarray(reward(batch.token_ids, batch.padding_mask, None))
    return scores * entries["score_std"] + entries["score_mean"]


def _by_review(values, positive, reviews):
    """(float[M] means over each review's passages, bool[M] labels)."""
    names, first, where = np.unique(reviews, return_index=True, return_inverse=True)
    return np.bincount(where, values) / np.bincount(where), positive[first]


def _accuracy(values, positive):
    """str such as "65.1% (63.9% to 66.2%, n = 6,650)", Wilson's interval."""
    right = int(np.sum((values > 0) == positive))
    share = wilson_interval(right, len(values))
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}, n = {len(values):,})"


if __name__ == "__main__":
    launch(ClassifyConfig, main, __doc__)
