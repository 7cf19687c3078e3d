"""Cuts the movie reviews (Pang and Lee 2004) into JSON lines for the pipeline.

    python -m experiments.prepare_movie_reviews --source=../shared/data/movie_reviews/movie_reviews.zip
    python -m experiments.pipeline --config=movie_reviews

Whole reviews go to one split by a hash of their name (a fifth is held out), and are cut into passages
of some fifty words. The language model learns the passages; a preference pair is a passage of a
positive review over one of a negative review, so that the reward model becomes a sentiment
classifier (its score is positive for positive passages); a prompt is how a passage opens. Writes
text, sft, preferences and prompts as OUT/KIND.SPLIT.jsonl. Seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from experiments.launch import launch, option
from tfalign.data import TextRecord, read_records

HEAD = "Review:"


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    source: str = option("../shared/data/movie_reviews/movie_reviews.zip", "the zip of reviews")
    out: str = option("runs/movie_reviews_data", "where the JSON lines go")
    words: int = option(50, "of a passage")
    opening: int = option(6, "words of a prompt")


def main(config):
    reviews = read_records(f"text:{config.source}", TextRecord)
    passages = {"train": {"pos": [], "neg": []}, "test": {"pos": [], "neg": []}}
    for review in reviews:
        label = "pos" if "/pos/" in review.source else "neg"
        name = review.source.rpartition(":")[0].rpartition("/")[2]
        held_out = hashlib.sha256(name.encode()).digest()[0] % 5 == 0
        words = review.text.split()
        for start in range(0, len(words) - config.words + 1, config.words):
            passage = words[start : start + config.words]
            passages["test" if held_out else "train"][label].append(passage)
    for split, by_label in passages.items():
        _write_split(Path(config.out), split, by_label, config.opening)
        print(f"{split}: {len(by_label['pos'])} positive, {len(by_label['neg'])} negative passages")


def _write_split(out, split, by_label, opening):
    shuffled = np.random.default_rng(0)
    both = by_label["pos"] + by_label["neg"]
    order = shuffled.permutation(len(both))
    text, sft, prompts = [], [], []
    for index in order:
        passage = both[index]
        prompt = f"{HEAD} {' '.join(passage[:opening])}"
        rest = " " + " ".join(passage[opening:])
        text.append({"text": prompt + rest})
        sft.append({"prompt": prompt, "completion": rest})
        prompts.append({"prompt": prompt})
    pairs = min(len(by_label["pos"]), len(by_label["neg"]))
    sides = [shuffled.permutation(len(by_label[label]))[:pairs] for label in ("pos", "neg")]
    preferences = [
        {
            "prompt": HEAD,
            "chosen": " " + " ".join(by_label["pos"][p]),
            "rejected": " " + " ".join(by_label["neg"][n]),
        }
        for p, n in zip(*sides)
    ]
    kinds = {"text": text, "sft": sft, "preferences": preferences, "prompts": prompts}
    out.mkdir(parents=True, exist_ok=True)
    for kind, rows in kinds.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (out / f"{kind}.{split}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    launch(PrepareConfig, main, __doc__)
