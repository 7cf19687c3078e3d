"""Triples from texts: names that are found in them, and the relation of every two."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from tfalign.applications.knowledge.relation_classifier import (
    RelationClassifier,
    relation_log_probs,
)
from tfalign.applications.knowledge.relation_examples import encode_relations
from tfalign.applications.knowledge.relations import RelationRecord
from tfalign.files import local_copy, new_directory, write_json_atomically
from tfalign.text import Tokenizer
from tfalign.training.evaluator import Outputs

_ROWS = 64  # pairs at a time
_LETTER = "[A-Za-z\u00c0-\u024f\u0370-\u04ff]"  # of scripts with spaces: Latin, Greek, Cyrillic


class Extracted(NamedTuple):
    """A triple of a text, and how sure the classifier is."""

    head: str
    relation: str
    tail: str
    probability: float


class Gazetteer:
    """Finds names in texts: the longest that begins at a place, from left to right, as whole words.

    Case does not count, nor does whether words are joined by "_" or a space.

    Args:
        names: what is looked for, such as a graph's entities.

    Raises:
        ValueError: if there is no name.

    >>> gazetteer = Gazetteer(["New_Delhi", "Delhi", "India", "印度"])
    >>> gazetteer.find("New Delhi is in India, not in Indiana; 在印度")
    [('New_Delhi', (0, 9)), ('India', (16, 21)), ('印度', (40, 42))]
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {_spoken(name): name for name in names if _spoken(name)}
        if not self._names:
            raise ValueError("A gazetteer has a name, at least. Received: none")
        longest_first = sorted(self._names, key=lambda name: (-len(name), name))
        self._pattern = re.compile("|".join(map(_whole, longest_first)), re.IGNORECASE)

    def find(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """(name, (first character, the one behind the last)) of each that stands in a text."""
        return [
            (self._names[_spoken(match.group())], match.span())
            for match in self._pattern.finditer(text)
        ]


def _spoken(name):
    return " ".join(name.replace("_", " ").split()).casefold()


def _whole(name):
    """A pattern of a name that is part of no longer word; Han characters have no spaces around them."""
    words = r"[\s_]+".join(re.escape(word) for word in name.split(" "))
    before = f"(?<!{_LETTER})" if re.match(_LETTER, name) else ""
    behind = f"(?!{_LETTER})" if re.match(_LETTER, name[-1]) else ""
    return f"{before}{words}{behind}"


class RelationExtractor:
    """A classifier of relations with its tokenizer and the names of its classes.

    Args:
        model: RelationClassifier.
        tokenizer: Tokenizer with markers.
        classes: relations, in the order of the logits.
        none: name of no relation.
        length: int, longest text in tokens.
        gazetteer: what finds entities in texts; None where they are given.
    """

    def __init__(
        self,
        model: RelationClassifier,
        tokenizer: Tokenizer,
        classes: Sequence[str],
        none: str = "unknown",
        length: int = 104,
        gazetteer: Gazetteer | None = None,
    ) -> None:
        self.model, self.tokenizer, self.classes = model, tokenizer, tuple(classes)
        self.none, self.length, self.gazetteer = none, length, gazetteer
        self.columns = sorted({min(length, 32), min(length, 56), length})
        self._outputs = Outputs(model, relation_log_probs)

    def log_probs(self, records: Sequence[RelationRecord]) -> np.ndarray:
        """float32[N, C], log-probability of every relation of each pair; what a record says is not looked at."""
        examples = encode_relations(records, self.tokenizer, self.classes, self.length)
        return np.stack(self._outputs(examples, _ROWS, self.columns))

    def extract(
        self, text: str, entities: Sequence[tuple[int, int]] | None = None
    ) -> list[Extracted]:
        """The triples of a text, the surest first.

        Both directions of every two entities are asked for, and the surer one is kept, unless it is no relation.

        Args:
            text: str.
            entities: (first character, the one behind the last) of each; None for those that the gazetteer finds.

        Raises:
            ValueError: if there are neither entities nor a gazetteer, or an entity is not in the text.
        """
        named = self._named(text, entities)
        pairs = [
            (head, tail)
            for head, tail in itertools.permutations(named, 2)
            if head[1][1] <= tail[1][0] or tail[1][1] <= head[1][0]
        ]
        if not pairs:
            return []
        records = [RelationRecord(text, head[1], tail[1], "") for head, tail in pairs]
        found: dict[frozenset, Extracted] = {}
        for (head, tail), log_probs in zip(pairs, self.log_probs(records)):
            likeliest = int(np.argmax(log_probs))
            triple = Extracted(
                head[0], self.classes[likeliest], tail[0], float(np.exp(log_probs[likeliest]))
            )
            both = frozenset([head[1], tail[1]])
            if both not in found or triple.probability > found[both].probability:
                found[both] = triple
        kept = [triple for triple in found.values() if triple.relation != self.none]
        return sorted(kept, key=lambda triple: -triple.probability)

    def _named(self, text, entities):
        """(name, span) of every entity."""
        if entities is None:
            if self.gazetteer is None:
                raise ValueError("Entities are given, or found by a gazetteer. Received: neither")
            return self.gazetteer.find(text)
        for first, last in entities:
            if not 0 <= first < last <= len(text):
                raise ValueError(
                    f"An entity is a part of the text, of {len(text)} characters. Received: {(first, last)}"
                )
        return [(text[first:last], (first, last)) for first, last in entities]

    def save(self, directory: str | os.PathLike) -> None:
        """Writes model, tokenizer and the names of the classes."""
        settings = {"classes": self.classes, "none": self.none, "length": self.length}
        with new_directory(directory) as writing:
            self.model.save(writing / "classifier.keras")
            self.tokenizer.save(writing)
            write_json_atomically(writing / "relations.json", settings)

    @classmethod
    def load(
        cls, directory: str | os.PathLike, gazetteer: Gazetteer | None = None
    ) -> RelationExtractor:
        """What ``save`` wrote."""
        with local_copy(directory) as folder:
            settings = json.loads((folder / "relations.json").read_text("utf-8"))
            model = keras.models.load_model(folder / "classifier.keras")
            return cls(model, Tokenizer.load(folder), gazetteer=gazetteer, **settings)
