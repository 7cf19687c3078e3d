"""An index of vectors: which documents have the largest inner products with a query, exactly."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.files import (
    RemotePath,
    as_path,
    new_directory,
    sync_file,
    to_json,
    write_synced,
)
from tfalign.types import Array

VECTORS, ABOUT = "vectors.npy", "index.json"
_QUERIES = 256  # at most so many are searched for at once
_CHECKED = 65_536  # vectors that are looked at at once


class Found(NamedTuple):
    """What a search found, best first."""

    rows: np.ndarray  # int32[Q, K], numbers of documents
    scores: np.ndarray  # float32[Q, K], inner products


class Hit(NamedTuple):
    """A document that was found."""

    row: int
    score: float
    text: str


class Index:
    """Exact search by inner product: one matrix product per chunk of vectors, whose best are merged, in one compiled
    program. Among equal scores the document of the smaller number comes first.

    Args:
        vectors: float[N, W], of the documents; for cosines of length 1.
        texts: N documents; None where their numbers are enough.
        encoder: name of what made the vectors; saved with them.
        chunk: vectors multiplied at once: the memory that a search takes beside them is 4 x 256 x ``chunk`` bytes.

    Raises:
        ValueError: if there is no vector, one is not finite, or there are more or fewer texts.

    >>> index = Index([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]], ["east", "north", "north-east"])
    >>> index.search([[0.6, 0.8]], k=2).rows.tolist()
    [[2, 1]]
    >>> [hit.text for hit in index.hits([[1.0, 0.1]], k=2)[0]]
    ['east', 'north-east']
    """

    def __init__(
        self,
        vectors: Array,
        texts: Sequence[str] | None = None,
        encoder: str | None = None,
        chunk: int = 65_536,
    ) -> None:
        vectors, self.texts = checked_vectors(vectors, texts)
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1. Received: chunk={chunk}")
        self.encoder = encoder
        self.size, self.width = vectors.shape
        self.chunk = min(chunk, self.size)
        self._chunks = [
            ops.convert_to_tensor(_chunk(vectors, first, self.chunk))
            for first in range(0, self.size, self.chunk)
        ]
        self._merge = backend.jit(self._merged)

    def __len__(self) -> int:
        return self.size

    def search(self, queries: Array, k: int = 10) -> Found:
        """The k best documents of each query; all of them where there are fewer.

        Args:
            queries: float[Q, W].
            k: int >= 1.

        Returns:
            Found, K = min(k, N).

        Raises:
            ValueError: if the queries are of another width or not finite, or k is not positive.
        """
        queries = checked_queries(queries, self.width, k)
        parts = [
            self._search(queries[first : first + _QUERIES], min(k, self.size))
            for first in range(0, len(queries), _QUERIES)
        ]
        return Found(*(np.concatenate(columns) for columns in zip(*parts)))

    def hits(self, queries: Array, k: int = 10) -> list[list[Hit]]:
        """As ``search``, with the documents' texts.

        Raises:
            ValueError: as ``search``, and if the index has no texts.
        """
        return hits_of(self.texts, self.search(queries, k))

    def vectors(self) -> Iterator[np.ndarray]:
        """float32[up to ``chunk``, W], the vectors in their order."""
        for first, chunk in zip(range(0, self.size, self.chunk), self._chunks):
            yield np.asarray(chunk)[: self.size - first]

    def save(self, folder: str | os.PathLike) -> None:
        """Writes a folder, which is there when it is whole; one that was there before is replaced."""
        with new_directory(folder) as writing:
            self._write_vectors(writing / VECTORS)
            about = {"encoder": self.encoder, "texts": self.texts}
            write_synced(writing / ABOUT, to_json(ABOUT, about))

    @classmethod
    def read(cls, folder: str | os.PathLike, chunk: int = 65_536) -> Index:
        """An index as ``save`` wrote it.

        Raises:
            ValueError: naming the file, if there is none, or it is damaged.
        """
        folder = as_path(folder)
        vectors = _read_vectors(folder / VECTORS)
        try:
            return cls(vectors, **_read_about(folder / ABOUT), chunk=chunk)
        except ValueError as error:
            raise ValueError(f"{folder} is no index: {error}") from error

    def _search(self, queries, k):
        """(int32[Q, K], float32[Q, K]); queries are padded, so that few programs serve all numbers of them."""
        count = len(queries)
        padded = np.pad(queries, ((0, (1 << (count - 1).bit_length()) - count), (0, 0)))
        rows = np.full((len(padded), k), -1, "int32")
        scores = np.full((len(padded), k), -np.inf, "float32")
        for number, chunk in enumerate(self._chunks):
            first = np.int32(number * self.chunk)
            rows, scores = self._merge(rows, scores, padded, chunk, first)
        return np.asarray(rows)[:count], np.asarray(scores)[:count]

    def _merged(self, rows, scores, queries, chunk, first):
        """The best of those before, int32[Q, K] and float32[Q, K], and of the chunk float32[C, W]."""
        products = ops.matmul(queries, ops.transpose(chunk))
        here = ops.arange(self.chunk, dtype="int32")
        products = ops.where(here < self.size - first, products, -np.inf)
        k = rows.shape[1]
        best, places = ops.top_k(products, min(k, self.chunk))
        scores = ops.concatenate([scores, best], axis=1)
        rows = ops.concatenate([rows, ops.cast(places, "int32") + first], axis=1)
        best, places = ops.top_k(scores, k)  # of equal ones the first, which is of an earlier chunk
        return ops.take_along_axis(rows, ops.cast(places, "int32"), axis=1), best

    def _write_vectors(self, file: Path) -> None:
        shape = self.size, self.width
        written = np.lib.format.open_memmap(file, mode="w+", dtype="float32", shape=shape)
        for first, vectors in zip(range(0, self.size, self.chunk), self.vectors()):
            written[first : first + len(vectors)] = vectors
        written.flush()
        del written
        sync_file(file)


def checked_vectors(
    vectors: Array, texts: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Vectors float[N, W] and the texts that belong to them.

    Raises:
        ValueError: if there is no vector, one is not finite, or there are more or fewer texts.
    """
    vectors = np.asanyarray(vectors)  # one that lies in a file stays there
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"An index needs vectors float[N, W]. Received: shape {vectors.shape}")
    texts = None if texts is None else tuple(texts)
    if texts is not None and len(texts) != len(vectors):
        raise ValueError(
            f"Each vector needs a text. Received: {len(vectors)} vectors and {len(texts)} texts"
        )
    for first in range(0, len(vectors), _CHECKED):
        _check_finite("vector", vectors[first : first + _CHECKED], first)
    return vectors, texts


def checked_queries(queries: Array, width: int, k: int) -> np.ndarray:
    """float32[Q, W], queries for an index of a width.

    Raises:
        ValueError: if they are of another width or not finite, or k is not positive.
    """
    queries = np.asarray(queries, "float32")
    if queries.ndim != 2 or queries.shape[1] != width or not len(queries):
        raise ValueError(
            f"Queries of this index are float[Q, {width}]. Received: shape {queries.shape}"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1. Received: k={k}")
    _check_finite("query", queries, 0)
    return queries


def hits_of(texts: Sequence[str] | None, found: Found) -> list[list[Hit]]:
    """Found documents with their texts.

    Raises:
        ValueError: if there are none.
    """
    if texts is None:
        raise ValueError("The index has no texts; .search gives the documents' numbers")
    pairs = (zip(rows, scores) for rows, scores in zip(found.rows.tolist(), found.scores.tolist()))
    return [[Hit(row, score, texts[row]) for row, score in pair] for pair in pairs]


def _chunk(vectors, first, count):
    """float32[count, W] from a row on; zeros behind the last."""
    part = np.ascontiguousarray(vectors[first : first + count], "float32")
    return part if len(part) == count else np.pad(part, ((0, count - len(part)), (0, 0)))


def _check_finite(what, numbers, first):
    finite = np.isfinite(numbers).all(axis=1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise ValueError(f"Each {what} must be finite. Received: {what} {row} is not")


def _read_vectors(file):
    if not file.is_file():
        raise ValueError(f"There is no index {file.parent}. Received: no file {file}")
    try:
        if isinstance(file, RemotePath):
            return np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file} is no NumPy array, or is cut off: {error}") from error


def _read_about(file):
    """{"encoder": str or None, "texts": list of str or None}."""
    try:
        about = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{file.name} is not JSON in UTF-8, or not there: {error}") from error
    if not isinstance(about, dict) or set(about) != {"encoder", "texts"}:
        raise ValueError(f"{file.name} must have encoder and texts, and no more")
    texts = about["texts"] or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{file.name}: texts must be a list of texts")
    return about
