"""An index that looks at few vectors: a navigable small world graph (Malkov and Yashunin 2018) of ``usearch``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfalign.applications.search.index import Found, Hit, checked_queries, checked_vectors, hits_of
from tfalign.types import Array


class ApproximateIndex:
    """Asked as an ``Index`` is, faster among very many vectors, and sometimes wrong. It is built anew from vectors, and
    not saved.

    Args:
        vectors: float[N, W].
        texts: N documents; None where their numbers are enough.
        neighbours: edges of a vector in the graph.
        looked_at: vectors looked at for a query: more are slower, and more often right.

    Raises:
        ImportError: if ``usearch`` is not installed (``pip install tfalign[search]``).
        ValueError: if there is no vector, one is not finite, or there are more or fewer texts.
    """

    def __init__(
        self,
        vectors: Array,
        texts: Sequence[str] | None = None,
        neighbours: int = 16,
        looked_at: int = 64,
    ) -> None:
        vectors, self.texts = checked_vectors(vectors, texts)
        self.size, self.width = vectors.shape
        self._graph: Any = _graph(self.width, neighbours, looked_at)
        self._graph.add(np.arange(self.size), np.ascontiguousarray(vectors, "float32"))

    def __len__(self) -> int:
        return self.size

    def search(self, queries: Array, k: int = 10) -> Found:
        """About the k best documents of each query; arguments as for ``Index.search``."""
        queries = checked_queries(queries, self.width, k)
        found = self._graph.search(queries, min(k, self.size))
        rows = np.reshape(found.keys, (len(queries), -1)).astype("int32")
        return Found(rows, 1.0 - np.reshape(found.distances, rows.shape))

    def hits(self, queries: Array, k: int = 10) -> list[list[Hit]]:
        """As ``search``, with the documents' texts; arguments as for ``Index.hits``."""
        return hits_of(self.texts, self.search(queries, k))


def _graph(width, neighbours, looked_at):
    try:
        from usearch.index import Index as Graph
    except ImportError as error:
        raise ImportError(
            "An ApproximateIndex needs usearch: pip install tfalign[search]"
        ) from error
    shape = {"connectivity": neighbours, "expansion_search": looked_at}
    return Graph(ndim=width, metric="ip", dtype="f32", **shape)
