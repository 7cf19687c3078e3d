"""The index against a brute-force search with NumPy, its files, and its bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfalign.applications.search import ApproximateIndex, Index


def brute_force(vectors, queries, k):
    """(rows, scores) by a stable sort: of equal scores the smaller row first."""
    scores = queries @ vectors.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).integers(-3, 4, size=(23, 4)).astype("float32")


@pytest.mark.parametrize(("chunk", "k"), [(5, 7), (5, 3), (23, 23), (100, 4), (1, 2)])
def test_search_is_brute_force(vectors, chunk, k):
    """Whole numbers have many equal scores; a chunk may be smaller than k, and the last one is not full."""
    queries = np.random.default_rng(1).integers(-3, 4, size=(3, 4)).astype("float32")
    found = Index(vectors, chunk=chunk).search(queries, k)
    rows, scores = brute_force(vectors, queries, k)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.scores, scores)


def test_many_queries_are_searched_in_batches(vectors):
    queries = np.random.default_rng(2).normal(size=(300, 4)).astype("float32")
    found = Index(vectors, chunk=10).search(queries, 5)
    np.testing.assert_array_equal(found.rows, brute_force(vectors, queries, 5)[0])


def test_all_are_found_where_there_are_few(vectors):
    assert Index(vectors[:3]).search(vectors[:1], k=10).rows.shape == (1, 3)


def test_what_was_saved_is_read_back(vectors, tmp_path):
    texts = [f"第{i}段\n" for i in range(23)]
    Index(vectors[:2], ["old", "older"]).save(tmp_path / "index")
    Index(vectors, texts, encoder="ours", chunk=7).save(
        tmp_path / "index"
    )  # in place of the old one
    read = Index.read(tmp_path / "index", chunk=4)
    assert (read.texts, read.encoder) == (tuple(texts), "ours")
    np.testing.assert_array_equal(np.concatenate(list(read.vectors())), vectors)
    assert [hit.text for hit in read.hits(vectors[:1], k=1)[0]] == [
        texts[brute_force(vectors, vectors[:1], 1)[0][0, 0]]
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"index"}


def test_nothing_is_left_where_the_disk_is_full(vectors, tmp_path, monkeypatch):
    """A folder that was there stays whole."""
    index = Index(vectors, ["x"] * 23)
    index.save(tmp_path / "index")
    new = Index(vectors[:2], ["y"] * 2)
    monkeypatch.setattr(
        "tfalign.applications.search.index.write_synced",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OSError, match="No space"):
        new.save(tmp_path / "index")
    assert Index.read(tmp_path / "index").size == 23


@pytest.mark.parametrize(
    ("vectors", "texts", "message"),
    [
        (np.zeros((0, 4)), None, r"needs vectors float\[N, W\]. Received: shape \(0, 4\)"),
        (np.zeros(4), None, r"Received: shape \(4,\)"),
        ([[1.0], [np.nan], [np.inf]], None, "must be finite. Received: vector 1 is not"),
        ([[1.0]], ["a", "b"], "Received: 1 vectors and 2 texts"),
    ],
)
def test_bad_vectors_are_told(vectors, texts, message):
    with pytest.raises(ValueError, match=message):
        Index(vectors, texts)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.zeros((1, 3)), 1, r"are float\[Q, 4\]. Received: shape \(1, 3\)"),
        (np.zeros(4), 1, r"Received: shape \(4,\)"),
        (np.zeros((0, 4)), 1, r"Received: shape \(0, 4\)"),
        (np.full((2, 4), np.nan), 1, "Received: query 0 is not"),
        (np.zeros((1, 4)), 0, "Received: k=0"),
    ],
)
def test_bad_queries_are_told(vectors, queries, k, message):
    with pytest.raises(ValueError, match=message):
        Index(vectors).search(queries, k)


def test_hits_need_texts(vectors):
    with pytest.raises(ValueError, match="The index has no texts"):
        Index(vectors).hits(vectors[:1])


def test_a_damaged_index_is_told(vectors, tmp_path):
    with pytest.raises(ValueError, match="There is no index .*nowhere"):
        Index.read(tmp_path / "nowhere")
    folder = tmp_path / "index"
    Index(vectors, ["x"] * 23).save(folder)
    whole = (folder / "vectors.npy").read_bytes()
    for content in (b"", whole[:60], whole[:-4], b"no array"):
        (folder / "vectors.npy").write_bytes(content)
        with pytest.raises(ValueError, match="vectors.npy is no NumPy array, or is cut off"):
            Index.read(folder)
    np.save(folder / "vectors.npy", np.full((23, 4), np.nan))
    with pytest.raises(ValueError, match="index is no index: Each vector must be finite"):
        Index.read(folder)
    (folder / "vectors.npy").write_bytes(whole)
    about = {"encoder": None}
    for wrong in ({"texts": ["x"]}, {"texts": [1] * 23}, {"texts": {"a": "b"}}, {}):
        (folder / "index.json").write_text(json.dumps(about | wrong))
        with pytest.raises(ValueError, match="index is no index"):
            Index.read(folder)
    (folder / "index.json").write_bytes(b"{\xff")
    with pytest.raises(ValueError, match="index.json is not JSON in UTF-8"):
        Index.read(folder)


def test_the_graph_finds_what_the_index_finds():
    """Among few vectors it looks at all of them."""
    pytest.importorskip("usearch")
    random = np.random.default_rng(3)
    vectors = random.normal(size=(40, 8)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [str(row) for row in range(40)]
    index, graph = Index(vectors, texts), ApproximateIndex(vectors, texts, looked_at=100)
    exact, found = index.search(vectors[:5], 6), graph.search(vectors[:5], 6)
    np.testing.assert_array_equal(found.rows, exact.rows)
    np.testing.assert_allclose(found.scores, exact.scores, atol=1e-5)
    assert graph.hits(vectors[:1], 1)[0][0].text == "0"
    with pytest.raises(ValueError, match=r"float\[Q, 8\]. Received: shape \(1, 4\)"):
        graph.search(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="vector 0 is not"):
        ApproximateIndex([[np.nan]])
