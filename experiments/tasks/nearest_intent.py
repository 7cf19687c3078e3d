"""Which intent a customer's request has: that of the nearest request whose intent is known.

    python -m experiments.tasks.nearest_intent --model=MINILM --data=DATA/bitext-intents

DATA/bitext-intents has train.csv and test.csv with a header, columns "utterance" and "intent". Nothing is trained. Prints
accuracy with its 95% interval, of the nearest request and of a vote among --k; no --model: runs of characters.

Result: docs/results/search.md.
"""

from __future__ import annotations

import collections
import csv
from pathlib import Path

from experiments.launch import launch
from tfalign.applications.search import Index, NGramEncoder, TextEncoder
from tfalign.data import text_lines
from tfalign.evaluation.statistics import wilson_interval
from tfalign.options import option, option_record


@option_record
class IntentConfig:
    data: str = option("bitext-intents", "Folder of train.csv and test.csv.")
    model: str | None = option(None, "Directory of an encoder; none: runs of characters.")
    k: int = option(5, "Neighbours that vote.", at_least=1)
    length: int = option(64, "Maximum length that is read of a request, tokens.", at_least=1)


def main(config):
    known, asked = (_requests(Path(config.data) / f"{split}.csv") for split in ("train", "test"))
    encode = NGramEncoder() if config.model is None else TextEncoder(config.model, config.length)
    texts, intents = zip(*known)
    index = Index(encode(texts), texts)
    rows = index.search(encode([text for text, _ in asked]), config.k).rows
    print(f"{len(known)} requests, {len(set(intents))} intents; {len(asked)} asked")
    for k in sorted({1, config.k}):
        votes = [collections.Counter(intents[row] for row in found[:k]) for found in rows]
        right = sum(vote.most_common(1)[0][0] == intent for vote, (_, intent) in zip(votes, asked))
        value, low, high = wilson_interval(right, len(asked))
        print(f"accuracy of {k}: {value:.4f} ({low:.4f} to {high:.4f})")


def _requests(file):
    """(text, intent) pairs."""
    return [(row["utterance"], row["intent"]) for row in csv.DictReader(text_lines(file))]


if __name__ == "__main__":
    launch(IntentConfig, main, __doc__)
