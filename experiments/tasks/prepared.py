"""Folders of JSON lines for the pipeline: KIND.SPLIT.jsonl, one file per kind of record and split."""

from __future__ import annotations

import json

from tfalign.files import local_path


def write_kinds(folder, split, kinds):
    """Writes the files of one split, and prints their numbers of lines.

    Args:
        folder: str, created if absent.
        split: str, such as "train".
        kinds: dict of a kind's name to its rows, dicts that JSON can hold.
    """
    local_path(folder).mkdir(parents=True, exist_ok=True)
    for kind, rows in kinds.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (local_path(folder) / f"{kind}.{split}.jsonl").write_text(lines, encoding="utf-8")
    print(f"{split}: " + ", ".join(f"{len(rows)} {kind}" for kind, rows in kinds.items()))


def both_splits(folder, kind):
    """The source of a kind's two splits, as ``trainers.data.read_split`` takes it: training::held-out.

    >>> both_splits("runs/data", "sft")
    'runs/data/sft.train.jsonl::runs/data/sft.test.jsonl'
    """
    return "::".join(f"{folder}/{kind}.{split}.jsonl" for split in ("train", "test"))
