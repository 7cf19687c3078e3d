"""Relations between two entities of a text: records, marked texts, and the official ways of counting."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfalign.data import BadRecordError, text_lines

MARKERS = ("[E1]", "[/E1]", "[E2]", "[/E2]")
_TAG = re.compile(r"</?e[12]>")
_DIRECTED = re.compile(r"(.+)\((e1,e2|e2,e1)\)")


class RelationRecord(NamedTuple):
    """A text, two entities in it, and how they are related."""

    text: str
    head: tuple[int, int]  # first character, and the one behind the last
    tail: tuple[int, int]
    relation: str

    @property
    def entities(self) -> tuple[str, str]:
        """The words of both."""
        return self.text[slice(*self.head)], self.text[slice(*self.tail)]


def marked(record: RelationRecord, markers: Sequence[str] = MARKERS) -> str:
    """The text with markers around both entities (Soares et al. 2019, section 3.2); entities may lie in each other.

    >>> marked(RelationRecord("Ann met Bob", (0, 3), (8, 11), "Social"))
    '[E1]Ann[/E1] met [E2]Bob[/E2]'
    """
    return mark(record, markers)[0]


def mark(
    record: RelationRecord, markers: Sequence[str] = MARKERS
) -> tuple[str, list[tuple[int, int, int]]]:
    """The same, and where the markers stand in it: (which of them, first character, the one behind the last) each, from
    left to right.

    >>> mark(RelationRecord("Ann met Bob", (0, 3), (8, 11), "Social"))[1]
    [(0, 0, 4), (1, 7, 12), (2, 17, 21), (3, 24, 29)]
    """
    inserted = []
    for number, (first, last) in enumerate([record.head, record.tail]):
        length = last - first  # what is longer opens first and closes last
        inserted.append((first, 1, -length, number, 2 * number))
        inserted.append((last, 0, length, -number, 2 * number + 1))
    text, places, done = "", [], 0
    for place, *_, which in sorted(inserted):
        text, done = text + record.text[done:place], place
        places.append((which, len(text), len(text) + len(markers[which])))
        text += markers[which]
    return text + record.text[done:], places


def read_sanwen(path: str | os.PathLike, on_bad: str = "stop") -> list[RelationRecord]:
    """Lines of head, tail, relation and sentence, separated by tabs (SanWen, Xu et al. 2017).

    An entity is where it first stands in the sentence; the tail, where it can, outside the head.

    Args:
        path: file.
        on_bad: "stop" at a bad line, or "skip" it.

    Raises:
        BadRecordError: naming file and line where there are not four cells, one is empty, or an entity is not in the
            sentence.
    """
    records = []
    for number, line in enumerate(text_lines(path), start=1):
        try:
            if line.strip():
                records.append(_of_sanwen(f"{path}:{number}", line.rstrip("\r\n").split("\t")))
        except BadRecordError:
            if on_bad == "stop":
                raise
    return records


def _of_sanwen(where, cells):
    if len(cells) != 4 or not all(cells):
        raise BadRecordError(
            where, f"head, tail, relation and sentence are needed. Received: {cells}"
        )
    head, tail, relation, text = cells
    for name in (head, tail):
        if name not in text:
            raise BadRecordError(where, f"the entity is not in the sentence. Received: {name!r}")
    first = text.index(head)
    span = (first, first + len(head))
    places = [match.start() for match in re.finditer(f"(?={re.escape(tail)})", text)]
    apart = [at for at in places if at >= span[1] or at + len(tail) <= span[0]]
    at = (apart or places)[0]
    return RelationRecord(text, span, (at, at + len(tail)), relation)


def read_semeval(path: str | os.PathLike) -> list[RelationRecord]:
    """SemEval-2010 task 8 (Hendrickx et al. 2010): a number, a tab, a quoted sentence with <e1> and <e2>; in the line below the
    relation with its direction; a comment; an empty line. A file without relations, to be answered, has "" for them.

    Raises:
        BadRecordError: naming file and line of a sentence without both entities, or something else.
    """
    records: list[RelationRecord] = []
    for number, line in enumerate(text_lines(path), start=1):
        line, where = line.strip(), f"{path}:{number}"
        if not line or line.startswith("Comment:"):
            continue
        if re.match(r'\d+\t"', line):
            records.append(_of_semeval(where, line.partition("\t")[2]))
        elif records and not records[-1].relation:
            records[-1] = records[-1]._replace(relation=line)
        else:
            raise BadRecordError(
                where, f"a numbered sentence or its relation is needed. Received: {line[:80]!r}"
            )
    return records


def _of_semeval(where, quoted):
    found = [match.group() for match in _TAG.finditer(quoted)]
    if sorted(found) != ["</e1>", "</e2>", "<e1>", "<e2>"]:
        raise BadRecordError(where, f"<e1> and <e2> are needed, once each. Received: {found}")
    text, places = "", {}
    for piece in re.split(f"({_TAG.pattern})", quoted.removeprefix('"').removesuffix('"')):
        if _TAG.fullmatch(piece):
            places[piece] = len(text)
        else:
            text += piece
    spans = [(places[f"<e{i}>"], places[f"</e{i}>"]) for i in (1, 2)]
    if any(first >= last for first, last in spans):
        raise BadRecordError(where, f"an entity is empty or closed first. Received: {found}")
    return RelationRecord(text, *spans, "")


def micro_scores(
    right: Sequence[str], predicted: Sequence[str], none: str = "unknown"
) -> dict[str, float]:
    """Precision, recall and F1 over all pairs that have a relation, as SanWen and ACE are counted; a pair without one
    counts where one was predicted.

    >>> micro_scores(["A", "A", "B", "unknown"], ["A", "unknown", "A", "B"])
    {'precision': 0.3333333333333333, 'recall': 0.3333333333333333, 'f1': 0.3333333333333333}
    """
    right, predicted = np.asarray(right), np.asarray(predicted)
    hits = float(np.sum((right == predicted) & (right != none)))
    return _scores(hits, float(np.sum(predicted != none)), float(np.sum(right != none)))


def semeval_score(right: Sequence[str], predicted: Sequence[str]) -> float:
    """The official score of SemEval-2010 task 8: F1 of each relation, averaged over those that occur, without Other.

    The direction counts: a relation that is predicted the wrong way round is a false one, of the same relation
    (the scorer's "(9+1)-way evaluation taking directionality into account").

    Raises:
        ValueError: if there are not as many predictions as answers, or no relation but Other.
    """
    if len(right) != len(predicted):
        raise ValueError(
            f"Every pair has an answer. Received: {len(predicted)} predictions, {len(right)} answers"
        )
    right_names, names = ([_name(x) for x in labels] for labels in (right, predicted))
    relations = sorted(set(right_names) - {"Other"})
    if not relations:
        raise ValueError("A relation other than Other is needed. Received: none")
    scores = []
    for relation in relations:
        hits = sum(r == p for r, p, name in zip(right, predicted, names) if name == relation)
        counts = (float(labels.count(relation)) for labels in (names, right_names))
        scores.append(_scores(float(hits), *counts)["f1"])
    return float(np.mean(scores))


def _name(label):
    """A relation without its direction."""
    match = _DIRECTED.fullmatch(label)
    return match.group(1) if match else label


def _scores(hits, predicted, right):
    precision, recall = (hits / count if count else 0.0 for count in (predicted, right))
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
