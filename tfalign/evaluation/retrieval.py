"""What a ranked list of documents is worth to each query: recall, reciprocal rank, discounted cumulative gain.

Each function returns a number per query; their mean is what papers report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfalign.types import Array

Relevant = Sequence[Mapping[int, float]]


def recall_at(found: Array, relevant: Relevant, k: int) -> np.ndarray:
    """The fraction of a query's relevant documents among the first k that were found.

    Args:
        found: int[Q, K], documents by rank, best first, each once; -1 where there is none.
        relevant: Q mappings of a document to its gain, above 0; each has at least one.
        k: int >= 1, ranks that are looked at.

    Returns:
        float64[Q].

    Raises:
        ValueError: if numbers of queries differ, a query has no relevant document or a gain that is not positive and
            finite, a document is found twice, or k is not in [1, K].

    >>> recall_at([[7, 3, 5], [1, 2, 0]], [{3: 1, 9: 1}, {0: 1}], k=2)
    array([0.5, 0. ])
    """
    gains, _ = _gains(found, relevant, k)
    return (gains > 0).sum(axis=1) / np.array([len(wanted) for wanted in relevant])


def reciprocal_rank(found: Array, relevant: Relevant, k: int) -> np.ndarray:
    """1 / the rank of the first relevant document, 0 where none is among the first k; the mean is MRR@k.

    Args, Returns, Raises: see ``recall_at``.

    >>> reciprocal_rank([[7, 3, 5], [1, 2, 0]], [{3: 1, 5: 1}, {0: 1}], k=2)
    array([0.5, 0. ])
    """
    gains, _ = _gains(found, relevant, k)
    return np.max((gains > 0) / np.arange(1, k + 1), axis=1)


def ndcg_at(found: Array, relevant: Relevant, k: int) -> np.ndarray:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002): the sum of gains / log2(rank + 1) over
    the first k ranks, divided by the largest that it could be. Gains are linear, as TREC counts them.

    Args, Returns, Raises: see ``recall_at``.

    >>> ndcg_at([[7, 3]], [{3: 2, 7: 1}], k=2).round(4)  # (1 + 2 / log2(3)) / (2 + 1 / log2(3))
    array([0.8597])
    """
    gains, best = _gains(found, relevant, k)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    return (gains @ discounts) / (best @ discounts)


def retrieval_metrics(found: Array, relevant: Relevant, k: int = 10) -> dict[str, float]:
    """Means over queries: "recall_at_1" and "recall_at_K", "mrr_at_K", "ndcg_at_K".

    Args, Raises: see ``recall_at``.

    >>> retrieval_metrics([[4, 2]], [{2: 1}], k=2)["mrr_at_2"]
    0.5
    """
    measures = {"recall_at_1": recall_at(found, relevant, 1)}
    measures[f"recall_at_{k}"] = recall_at(found, relevant, k)
    measures[f"mrr_at_{k}"] = reciprocal_rank(found, relevant, k)
    measures[f"ndcg_at_{k}"] = ndcg_at(found, relevant, k)
    return {name: float(values.mean()) for name, values in measures.items()}


def _gains(found, relevant, k):
    """(float64[Q, k], gains by rank found; the same of the best ranking there is)."""
    found = np.asarray(found)
    if found.ndim != 2 or len(found) != len(relevant) or not len(found):
        raise ValueError(
            "Each query needs a list of documents and its relevant ones."
            f" Received: documents of shape {found.shape} and {len(relevant)} queries"
        )
    if not 1 <= k <= found.shape[1]:
        raise ValueError(
            f"k must be in [1, {found.shape[1]}], the ranks there are. Received: k={k}"
        )
    gains, best = np.zeros((2, len(found), k))
    for query, (documents, wanted) in enumerate(zip(found.tolist(), relevant)):
        _check(query, documents, wanted)
        gains[query] = [wanted.get(document, 0.0) for document in documents[:k]]
        largest = sorted(wanted.values(), reverse=True)[:k]
        best[query, : len(largest)] = largest
    return gains, best


def _check(query, documents, wanted):
    """Raises unless a query's documents differ and its gains are positive."""
    if not wanted or not all(0 < gain < np.inf for gain in wanted.values()):
        raise ValueError(
            f"Query {query} needs relevant documents with positive finite gains. Received: {dict(wanted)}"
        )
    there = [document for document in documents if document >= 0]
    if len(set(there)) < len(there):
        raise ValueError(f"Query {query}: a document is found twice. Received: {documents}")
