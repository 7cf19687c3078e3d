"""Link prediction's ranks: of the right answer among all entities but the other right ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfalign.types import Array


def filtered_ranks(scores: Array, targets: Array, known: Sequence[Array]) -> np.ndarray:
    """The rank of each target, from 1, without the other known answers (Bordes et al. 2013).

    Among entities of equal score a target stands in the middle. Where it stood first, a model that scores all alike
    would be perfect (Sun et al. 2020, "A re-evaluation of knowledge graph completion methods").

    Args:
        scores: float[Q, E], higher is better; minus infinity for what was not found.
        targets: int[Q].
        known: Q arrays of ints, the known answers; the target may be among them.

    Returns:
        float64[Q].

    >>> filtered_ranks([[0.5, 0.9, 0.9, 0.1]], [2], [[2]])  # 1 and 2 tie
    array([1.5])
    >>> filtered_ranks([[0.5, 0.9, 0.9, 0.1]], [2], [[1, 2]])  # 1 is right, too
    array([1.])
    """
    scores, targets = np.array(scores, "float64"), np.asarray(targets)
    rows = np.arange(len(targets))
    own = scores[rows, targets]
    counts = np.ones(scores.shape, "bool")
    for row, answers in enumerate(known):
        counts[row, np.asarray(answers, "int64")] = False
    counts[rows, targets] = False
    better = ((scores > own[:, None]) & counts).sum(axis=1)
    equal = ((scores == own[:, None]) & counts).sum(axis=1)
    return 1.0 + better + equal / 2.0


def ranking_metrics(ranks: Array) -> dict[str, float]:
    """Mean reciprocal rank, and the fraction of ranks of at most 1, 3 and 10.

    >>> ranking_metrics([1, 4])
    {'mrr': 0.625, 'hits_at_1': 0.5, 'hits_at_3': 0.5, 'hits_at_10': 1.0}
    """
    ranks = np.asarray(ranks, "float64")
    hits = {f"hits_at_{k}": float(np.mean(ranks <= k)) for k in (1, 3, 10)}
    return {"mrr": float(np.mean(1.0 / ranks))} | hits


def precision_recall_area(scores: Array, labels: Array) -> float:
    """Area under the precision-recall curve by average precision; equal scores are one step.

    Args:
        scores: float[N].
        labels: bool[N], at least one true.

    >>> precision_recall_area([0.9, 0.8, 0.7], [True, False, True])  # (1 + 2/3) / 2
    0.8333333333333333
    >>> precision_recall_area([0.5, 0.5], [True, False])
    0.5
    """
    scores, labels = np.asarray(scores, "float64"), np.asarray(labels, "bool")
    steps = np.unique(scores)[::-1]
    taken = np.array([[(scores >= step).sum(), labels[scores >= step].sum()] for step in steps])
    gained = np.diff(np.r_[0, taken[:, 1]])
    return float(np.sum(gained * taken[:, 1] / taken[:, 0]) / labels.sum())
