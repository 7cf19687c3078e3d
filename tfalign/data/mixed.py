"""Several sources in one training: how often the records of each are in an epoch."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\*(.+)")
_SPREAD = (math.sqrt(5) - 1) / 2  # multiples of it, modulo 1, are spread evenly


def mixture_of(source: str) -> dict[str, float] | None:
    """The sources that one string names with a weight each, "3*a.jsonl,1*b.jsonl"; None where it names one source.

    Raises:
        ValueError: if some parts have a weight and others have none, or a source stands twice.

    >>> mixture_of("3*a.jsonl,1*alpaca:b.json"), mixture_of("a.jsonl")
    ({'a.jsonl': 3.0, 'alpaca:b.json': 1.0}, None)
    """
    if not _PART.fullmatch(source):
        return None
    parts = [_PART.fullmatch(part) for part in source.split(",")]
    if None in parts or len({part[2] for part in parts}) < len(parts):
        raise ValueError(
            "Several sources each have a weight and stand once, as in 3*a.jsonl,1*b.jsonl. "
            f"Received: {source}"
        )
    return {part[2]: float(part[1]) for part in parts}


def mixed(sources: Sequence[Sequence[Any]], weights: Sequence[float]) -> list[Any]:
    """The records of several sources, weighted so that an epoch, as long as all of them together, has of each a fraction
    proportional to its weight.

    Args:
        sources: sequences of records.
        weights: of each; 0 leaves a source out.

    Raises:
        ValueError: if a weight is not a finite number of at least 0, or all are 0.

    >>> from tfalign.data import TextRecord
    >>> [record.weight for record in mixed([[TextRecord("a")], [TextRecord("b")] * 3], [1, 1])]
    [2.0, 0.6666666666666666, 0.6666666666666666, 0.6666666666666666]
    """
    values = [float(weight) for weight in weights]
    if not all(math.isfinite(weight) and weight >= 0 for weight in values) or not sum(values):
        raise ValueError(
            f"Weights of sources must be at least 0, and one above it. Received: {list(weights)}"
        )
    count = sum(len(records) for records, weight in zip(sources, values) if weight)
    return [
        dataclasses.replace(record, weight=count * weight / sum(values) / len(records))
        for records, weight in zip(sources, values)
        if weight
        for record in records
    ]


def once_each(records: Sequence[Any]) -> Sequence[Any]:
    """The records, each once in an epoch: what is held out is counted as it is."""
    if hasattr(records, "weights") or all(record.weight == 1 for record in records):
        return records
    return [dataclasses.replace(record, weight=1.0) for record in records]


def epoch_indices(weights: np.ndarray, epoch: int) -> np.ndarray:
    """Which examples are in an epoch, in order: each its weight's times, in the mean, and never more than one off.

    Args:
        weights: float64[N], see ``Record.weight``.
        epoch: int.

    Returns:
        int64[about sum(weights)].

    >>> [epoch_indices(np.array([2, 0.5, 0.5]), epoch).tolist() for epoch in (0, 1)]
    [[0, 0, 1], [0, 0, 2]]
    """
    offsets = _SPREAD * (1 + np.arange(len(weights))) % 1
    before, after = (np.floor(weights * turn + offsets) for turn in (epoch, epoch + 1))
    return np.repeat(np.arange(len(weights)), (after - before).astype(np.int64))


def check_unweighted(weights: np.ndarray, what: str) -> None:
    """Raises a ValueError if a reader of running text is given weighted records."""
    if np.any(weights != 1):
        raise ValueError(f"{what} takes records of one source. Received: weighted records")


def is_mixture(given: Any) -> bool:
    """Whether data in Python are several sources with weights, {"a.jsonl": 3, "b.jsonl": 1}."""
    return isinstance(given, Mapping) and all(
        isinstance(one, int | float) for one in given.values()
    )
