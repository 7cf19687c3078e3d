"""Folders of JSON lines for the pipeline: KIND.SPLIT.jsonl, a kind of record and a split a file."""

from __future__ import annotations

import json

from tfalign.files import local_path


def write_kinds(folder, split, kinds):
    """Writes a split's files, and prints how many lines went where.

    Args:
        folder: str, made when absent.
        split: str, such as "train".
        kinds: dict of a kind's name to its rows, dicts that JSON can hold.
    """
    local_path(folder).mkdir(parents=True, exist_ok=True)
    for kind, rows in kinds.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (local_path(folder) / f"{kind}.{split}.jsonl").write_text(lines, encoding="utf-8")
    print(f"{split}: " + ", ".join(f"{len(rows)} {kind}" for kind, rows in kinds.items()))


def both_splits(folder, kind):
    """The source ``trainers.data.read_split`` takes for a kind: the training file and the held-out one.

    >>> both_splits("runs/data", "sft")
    'runs/data/sft.train.jsonl::runs/data/sft.test.jsonl'
    """
    return "::".join(f"{folder}/{kind}.{split}.jsonl" for split in ("train", "test"))
