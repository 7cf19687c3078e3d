"""Knowledge graphs: triples of head, relation and tail, from a folder of tab-separated files."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfalign.data import BadRecordError, text_lines
from tfalign.files import as_path

SPLITS = ("train", "valid", "test")
Triple = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class KnowledgeGraph:
    """Entities, relations, and triples of them in three splits.

    Every relation r of R can be read backwards, as relation R + r: a question is (head, relation, ?) with a relation
    below 2 R (reciprocal relations, Lacroix et al. 2018).

    Args:
        entities, relations: names; a number is a place in them.
        train, valid, test: int32[N, 3], head, relation below R, tail.

    >>> graph = KnowledgeGraph.of([("a", "above", "b"), ("b", "above", "c")], test=[("a", "above", "c")])
    >>> graph.questions("test")  # and the same backwards
    array([[0, 0, 2],
           [2, 1, 0]], dtype=int32)
    >>> graph.answers[0, 0].tolist()
    [1, 2]
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @classmethod
    def of(
        cls, train: Sequence[Triple], valid: Sequence[Triple] = (), test: Sequence[Triple] = ()
    ) -> KnowledgeGraph:
        """A graph of named triples, whose names are numbered in alphabetical order.

        Raises:
            BadRecordError: as ``read``, with the split's name in the file's place.
        """
        splits = {"train": train, "valid": valid, "test": test}
        lines = {
            split: [(f"{split}:{i}", triple) for i, triple in enumerate(triples, start=1)]
            for split, triples in splits.items()
        }
        return _graph(lines, None, None, "stop")

    @classmethod
    def read(cls, folder: str | os.PathLike, on_bad: str = "stop") -> KnowledgeGraph:
        """A graph of the files train.txt, valid.txt and test.txt: head, relation, tail, separated by tabs.

        The names are those of entities.dict and relations.dict (number, name) where these files are there, else those
        of train.txt.

        Args:
            folder: where they are; valid.txt and test.txt may be missing.
            on_bad: "stop" at a bad line, or "skip" it.

        Raises:
            FileNotFoundError: if there is no train.txt.
            BadRecordError: naming file and line of an empty cell, another number of cells than three, an entity or a
                relation that has no number, or a triple that was there before.
            ValueError: if on_bad is something else, or no triple is left to train on.
        """
        if on_bad not in ("stop", "skip"):
            raise ValueError(f'on_bad is "stop" or "skip". Received: on_bad={on_bad!r}')
        folder = as_path(folder)
        lines = {split: _cells(folder / f"{split}.txt", split != "train") for split in SPLITS}
        names = (_dictionary(folder / f"{what}.dict") for what in ("entities", "relations"))
        return _graph(lines, *names, on_bad)

    @property
    def num_relations(self) -> int:
        """2 R, the relations read forwards and backwards."""
        return 2 * len(self.relations)

    def backwards(self, relations: np.ndarray | int) -> np.ndarray | int:
        """The same relations read in the other direction."""
        forward = len(self.relations)
        return (relations + forward) % (2 * forward)

    def questions(self, split: str) -> np.ndarray:
        """int32[2 N, 3]: the triples of a split, and behind them the same backwards."""
        triples = getattr(self, split)
        return np.concatenate(
            [triples, np.stack([triples[:, 2], self.backwards(triples[:, 1]), triples[:, 0]], 1)]
        )

    @functools.cached_property
    def answers(self) -> Mapping[tuple[int, int], np.ndarray]:
        """All known answers, of every split, to (head, relation): sorted entities."""
        return answers_of(np.concatenate([self.questions(split) for split in SPLITS]))

    def known(self, questions: np.ndarray) -> list[np.ndarray]:
        """Known answers to each of int[N, 2 or more], heads and relations."""
        none = np.zeros(0, "int64")
        return [self.answers.get((int(q[0]), int(q[1])), none) for q in questions]


def answers_of(questions: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """(head, relation) -> its tails, sorted, of questions int[N, 3]."""
    found: dict[tuple[int, int], set[int]] = {}
    for head, relation, tail in questions.tolist():
        found.setdefault((head, relation), set()).add(tail)
    return {asked: np.array(sorted(tails)) for asked, tails in found.items()}


def _cells(file, may_be_missing):
    """("file:line", cells) of every line that is not empty."""
    if may_be_missing and not file.exists():
        return []
    rows = enumerate((line.rstrip("\r\n") for line in text_lines(file)), start=1)
    return [(f"{file}:{number}", tuple(line.split("\t"))) for number, line in rows if line]


def _dictionary(file):
    """Names by their numbers; None where there is no file."""
    if not file.exists():
        return None
    names = {}
    for where, cells in _cells(file, False):
        if len(cells) != 2 or cells[0] != str(len(names)) or cells[1] in names:
            raise BadRecordError(
                where, f"number {len(names)}, a tab and a new name are needed. Received: {cells}"
            )
        names[cells[1]] = len(names)
    return names


def _graph(lines, entities, relations, on_bad):
    whole = _checked(lines["train"], entities, relations, on_bad)
    if not whole:
        raise ValueError("A graph has a triple to train on, at least. Received: none")
    if entities is None:
        entities = _numbered(name for head, _, tail in whole for name in (head, tail))
    relations = relations or _numbered(relation for _, relation, _ in whole)
    arrays = [_array(whole, entities, relations)]
    for split in SPLITS[1:]:
        triples = _checked(lines[split], entities, relations, on_bad)
        arrays.append(_array(triples, entities, relations))
    return KnowledgeGraph(tuple(entities), tuple(relations), *arrays)


def _checked(rows, entities, relations, on_bad):
    """The good triples of a file; without names yet, every name is one."""
    seen: dict[Triple, str] = {}
    for where, cells in rows:
        reason = _wrong(cells, seen, entities, relations)
        if reason is None:
            seen[cells] = where
        elif on_bad == "stop":
            raise BadRecordError(where, reason)
    return list(seen)


def _wrong(cells, seen, entities, relations):
    """What is wrong with a line; None for nothing."""
    if len(cells) != 3:
        return f"a triple has 3 cells, without a tab in them. Received: {len(cells)}"
    for name, cell in zip(("head", "relation", "tail"), cells):
        if not cell.strip():
            return f"the {name} is empty. Received: {cells}"
        numbers = relations if name == "relation" else entities
        if numbers is not None and cell not in numbers:
            return f"the {name} is not one of the graph's. Received: {cell!r}"
    if cells in seen:
        return f"the triple was there before, at {seen[cells]}. Received: {cells}"
    return None


def _numbered(names: Iterable[str]):
    return {name: number for number, name in enumerate(sorted(set(names)))}


def _array(triples, entities, relations):
    rows = [(entities[head], relations[name], entities[tail]) for head, name, tail in triples]
    return np.array(rows, "int32").reshape(-1, 3)
