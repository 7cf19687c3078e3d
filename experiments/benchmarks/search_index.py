"""Exact search among a million vectors: queries per second and memory, beside NumPy's product and usearch.

    python -m experiments.benchmarks.search_index
    python -m experiments.benchmarks.search_index --size=100000 --approximate=100000

Vectors are random, of length 1, around --clusters centres, and queries are vectors with noise. NumPy multiplies all
queries with chunks of the same size, takes the k largest of each chunk by argpartition, and merges. usearch (the extra
"search") builds a graph of the first --approximate vectors, and answers approximately: its recall is of them. Memory is
the process's peak after each part, so each includes those before. Results of ``Index`` and NumPy are compared row by
row. Prints a table.

Result: docs/results/search.md.
"""

from __future__ import annotations

import importlib.util
import resource
import time

import numpy as np

from experiments.launch import launch
from tfalign.applications.search import ApproximateIndex, Index
from tfalign.options import changed, option, option_record


@option_record
class SearchIndexConfig:
    size: int = option(1_000_000, "Vectors.", at_least=1)
    width: int = option(384, "Numbers of a vector.", at_least=1)
    clusters: int = option(1000, "Centres of the vectors.", at_least=1)
    queries: int = option(256, "Queries of a batch.", at_least=1)
    k: int = option(10, "Vectors found for each.", at_least=1)
    repeats: int = option(2, "Batches that are timed.", at_least=1)
    approximate: int = option(20_000, "Vectors that usearch is given; 0: none.", at_least=0)


def main(config):
    vectors, queries = data(config)
    print(f"{'':24}{'queries/s':>11}{'per CPU s':>13}{'peak GB':>9}")
    report("vectors alone", None)
    expected = timed("NumPy", lambda: with_numpy(vectors, queries, config.k), config)
    index = Index(vectors)
    found = timed("Index", lambda: index.search(queries, config.k), config)
    one = changed(config, queries=1)
    timed("Index, one query", lambda: index.search(queries[:1], config.k), one)
    same = np.mean(found.rows == expected)
    print(f"rows of Index that are NumPy's: {same:.6f}")
    if config.approximate and importlib.util.find_spec("usearch"):
        with_usearch(vectors[: config.approximate], queries, config)


def with_usearch(vectors, queries, config):
    """Builds and asks a graph."""
    began = time.process_time()
    index = ApproximateIndex(vectors)
    print(f"usearch: {len(vectors)} vectors in {time.process_time() - began:.1f} CPU seconds")
    found = timed(f"usearch, {len(vectors)}", lambda: index.search(queries, config.k), config)
    exact = Index(vectors).search(queries, config.k).rows
    recall = np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.rows, exact)])
    print(f"recall of usearch: {recall:.4f}")


def data(config):
    """(float32[size, width], float32[queries, width]), of length 1."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(config.clusters, config.width)).astype("float32")
    vectors = np.empty((config.size, config.width), "float32")
    for first in range(0, config.size, 65_536):
        part = vectors[first : first + 65_536]
        part[:] = random.standard_normal(part.shape, "float32")
        part += centres[random.integers(config.clusters, size=len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    chosen = vectors[random.integers(config.size, size=config.queries)]
    noise = random.standard_normal(chosen.shape, "float32") / np.sqrt(config.width)
    queries = chosen + 0.5 * noise
    return vectors, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def with_numpy(vectors, queries, k, chunk=65_536):
    """int64[Q, k], rows of the largest products."""
    rows, scores = [], []
    for first in range(0, len(vectors), chunk):
        products = queries @ vectors[first : first + chunk].T
        best = np.argpartition(-products, min(k, products.shape[1] - 1), axis=1)[:, :k]
        rows.append(best + first)
        scores.append(np.take_along_axis(products, best, axis=1))
    rows, scores = np.concatenate(rows, axis=1), np.concatenate(scores, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, axis=1)


def timed(name, search, config):
    """What a search found; the first call, which may compile, is not counted."""
    found = search()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(config.repeats):
        search()
    count = config.queries * config.repeats
    report(name, (count / (time.perf_counter() - wall), count / (time.process_time() - processor)))
    return found


def report(name, rates):
    """Prints a line: queries per second of the clock and of the processor, and the process's peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shown = "".join(f"{rate:>12.1f}" for rate in rates or ()) or " " * 24
    print(f"{name:24}{shown}{peak:>9.2f}", flush=True)


if __name__ == "__main__":
    launch(SearchIndexConfig, main, __doc__)
