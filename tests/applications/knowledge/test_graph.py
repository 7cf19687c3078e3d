"""Knowledge graphs from files, and what is wrong with a file."""

from __future__ import annotations

import numpy as np
import pytest

from tfalign.applications.knowledge import KnowledgeGraph, embedded_graph
from tfalign.data import BadRecordError


def write(folder, **files):
    for name, text in files.items():
        folder.joinpath(name.replace("_", ".")).write_text(text, encoding="utf-8")


def test_a_folder_is_read(tmp_path):
    write(tmp_path, train_txt="b\tr\ta\na\ts\tb\n", test_txt="a\tr\tb\r\n")
    graph = KnowledgeGraph.read(tmp_path)
    assert (graph.entities, graph.relations) == (("a", "b"), ("r", "s"))
    assert graph.train.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert graph.valid.shape == (0, 3)
    assert graph.questions("test").tolist() == [[0, 0, 1], [1, 2, 0]]
    assert graph.known(np.array([[0, 0], [1, 0], [0, 3]]))[2].tolist() == []
    assert {asked: tails.tolist() for asked, tails in graph.answers.items()} == {
        **{(1, 0): [0], (0, 1): [1], (0, 2): [1], (1, 3): [0]},
        **{(0, 0): [1], (1, 2): [0]},
    }
    assert graph.backwards(graph.backwards(np.arange(4))).tolist() == [0, 1, 2, 3]


def test_numbers_of_a_dictionary_are_kept(tmp_path):
    write(tmp_path, train_txt="0012\tr\t007\n", test_txt="9\tr\t007\n")
    write(tmp_path, entities_dict="0\t9\n1\t007\n2\t0012\n", relations_dict="0\tr\n")
    graph = KnowledgeGraph.read(tmp_path)
    assert graph.entities == ("9", "007", "0012")
    assert graph.train.tolist() == [[2, 0, 1]]
    write(tmp_path, entities_dict="0\t9\n2\t007\n")
    with pytest.raises(BadRecordError, match=r"entities.dict:2: number 1"):
        KnowledgeGraph.read(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"test_txt": "\nz\tr\ta\n"}, r"test.txt:2: the head is not .* Received: 'z'"),
        ({"test_txt": "a\tr\tz\n"}, "test.txt:1: the tail is not .* Received: 'z'"),
        ({"test_txt": "a\tq\tb\n"}, "test.txt:1: the relation is not .* Received: 'q'"),
        ({"train_txt": "a\t\tb\n"}, "train.txt:1: the relation is empty"),
        ({"train_txt": "a\tr\tb\na\tr\tb\n"}, "train.txt:2: .* before, at .*train.txt:1"),
        ({"train_txt": "a\tr\tb\tc\n"}, "train.txt:1: a triple has 3 cells.* Received: 4"),
        ({"train_txt": "a b\n"}, "train.txt:1: .* Received: 1"),
    ],
)
def test_a_bad_line_is_told_or_skipped(tmp_path, files, message):
    write(tmp_path, **{"train_txt": "a\tr\tb\n"} | files)
    with pytest.raises(BadRecordError, match=message):
        KnowledgeGraph.read(tmp_path)
    if "test_txt" in files:
        assert not len(KnowledgeGraph.read(tmp_path, on_bad="skip").test)


def test_a_graph_needs_triples(tmp_path):
    with pytest.raises(FileNotFoundError, match="train.txt"):
        KnowledgeGraph.read(tmp_path)
    write(tmp_path, train_txt="\n")
    with pytest.raises(ValueError, match="A graph has a triple"):
        KnowledgeGraph.read(tmp_path)


def test_the_embedded_graph_is_one_in_two_languages():
    """Name by name, and what is left out follows: capital backwards, then continent."""
    english, chinese = embedded_graph("en"), embedded_graph("zh")
    for split in ("train", "valid", "test"):
        assert len(getattr(english, split)) == len(getattr(chinese, split)) > 5
        assert shape(english, split) == shape(chinese, split)
    number = english.relations.index
    for city, _, continent in english.test:
        (country,) = english.answers[city, english.backwards(number("capital"))]
        assert english.answers[country, number("continent")].tolist() == [continent]
    with pytest.raises(ValueError, match="language='fr'"):
        embedded_graph("fr")


def shape(graph, split):
    """How often each entity and each relation occurs, without their names."""
    triples = getattr(graph, split)
    return [sorted(np.unique(x, return_counts=True)[1].tolist()) for x in triples.T]


def test_the_real_graphs(shared_data):
    sizes = {"nations": (14, 55, 1592), "umls": (135, 46, 5216), "kinships": (104, 25, 8544)}
    for name, size in sizes.items():
        graph = KnowledgeGraph.read(shared_data / "kg-tiny" / name)
        assert (len(graph.entities), len(graph.relations), len(graph.train)) == size
    countries = KnowledgeGraph.read(shared_data / "countries" / "S1", on_bad="skip")
    assert len(countries.train) == 1110  # one of 1,111 lines is there twice
