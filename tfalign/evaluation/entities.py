"""Named entities: what a row of tags says, and how much of it was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class EntityScores(NamedTuple):
    """Of all sentences together; an entity is right if its kind and both its ends are."""

    precision: float  # right / found
    recall: float  # right / present
    f1: float
    right: int
    found: int
    present: int


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Kind, first word and one past the last word of every entity.

    "B-x" begins one, and so does an "I-x" that continues none of kind x, as in CoNLL's own script
    (Tjong Kim Sang and De Meulder 2003).

    >>> sorted(entities(["B-person", "I-person", "O", "I-place", "B-place"]))
    [('person', 0, 2), ('place', 3, 4), ('place', 4, 5)]
    """
    found, start, open_kind = set(), 0, None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        continues = prefix == "I" and kind == open_kind
        if open_kind is not None and not continues:
            found.add((open_kind, start, place))
            open_kind = None
        if prefix in ("B", "I") and not continues:
            start, open_kind = place, kind
    return found


def score_entities(
    predicted: Sequence[Sequence[str]], actual: Sequence[Sequence[str]]
) -> EntityScores:
    """Micro-averaged scores of tags against tags, sentence by sentence.

    Raises:
        ValueError: if a sentence has another number of tags on the two sides.
    """
    right = found = present = 0
    for ours, theirs in zip(predicted, actual, strict=True):
        if len(ours) != len(theirs):
            raise ValueError(f"A sentence of {len(theirs)} words got {len(ours)} tags")
        ours, theirs = entities(ours), entities(theirs)
        right += len(ours & theirs)
        found += len(ours)
        present += len(theirs)
    precision, recall = right / max(found, 1), right / max(present, 1)
    f1 = 2 * right / max(found + present, 1)
    return EntityScores(precision, recall, f1, right, found, present)
