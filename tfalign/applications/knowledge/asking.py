"""Questions in words about a graph: which entity, which relation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfalign.applications.knowledge.extraction import Gazetteer
from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.applications.knowledge.walker import Answer, Walker

Cues = Mapping[str, Sequence[Sequence[str]]]

EMBEDDED_CUES: dict[str, Cues] = {
    "en": {
        "capital": [["capital of"], ["capital"]],
        "~capital": [["capital of which"], ["which country", "capital"]],
        "continent": [["continent"]],
        "city_continent": [["continent", "city"], ["continent", "capital"]],
        "language": [["language"], ["speak"], ["spoken"]],
        "neighbour": [["neighbour"], ["border"]],
    },
    "zh": {
        "首都": [["首都"]],
        "~首都": [["哪个国家的首都"], ["哪国的首都"]],
        "所在洲": [["洲"]],
        "城市所在洲": [["城市", "洲"]],
        "语言": [["语言"], ["说什么话"]],
        "邻国": [["邻国"], ["接壤"]],
    },
}


class Asked(NamedTuple):
    """What a question asks for, as ``Walker.answers`` takes it: (head, relation, ?)."""

    head: str
    relation: str  # with a "~" in front, read backwards


class QuestionReader:
    """Reads the entity and the relation off a question in words.

    The entity is the one that a ``Gazetteer`` of the graph's names finds. A relation has cues, some words that stand
    in the question all together, beside the entity; of several relations it is the one whose cues have the most letters.

    Args:
        graph: KnowledgeGraph.
        cues: relation -> its cues; a "~" before the relation reads it backwards. ``EMBEDDED_CUES`` has those of the
            embedded graph.

    Raises:
        ValueError: if there are cues of a relation that the graph does not have.

    >>> from tfalign.applications.knowledge import embedded_graph
    >>> reader = QuestionReader(embedded_graph("en"), EMBEDDED_CUES["en"])
    >>> reader.read("On which continent is the city of New Delhi?")
    Asked(head='New_Delhi', relation='city_continent')
    >>> reader.read("Vienna is the capital of which country?")
    Asked(head='Vienna', relation='~capital')
    >>> QuestionReader(embedded_graph("zh"), EMBEDDED_CUES["zh"]).read("法国的首都是哪里？")
    Asked(head='法国', relation='首都')
    """

    def __init__(self, graph: KnowledgeGraph, cues: Cues) -> None:
        for relation in cues:
            if relation.removeprefix("~") not in graph.relations:
                raise ValueError(f"The graph has no such relation. Received: cues of {relation!r}")
        self.cues = {
            relation: [[word.casefold() for word in words] for words in ways]
            for relation, ways in cues.items()
        }
        self.gazetteer = Gazetteer(graph.entities)

    def read(self, question: str) -> Asked:
        """Entity and relation of a question.

        Raises:
            ValueError: if it names no entity, several, or no relation.
        """
        found = self.gazetteer.find(question)
        names = sorted({name for name, _ in found})
        if len(names) != 1:
            raise ValueError(
                f"A question names one entity of the graph. Received: {names}, {question!r}"
            )
        beside = question
        for _, (first, last) in reversed(found):
            beside = f"{beside[:first]} {beside[last:]}"
        beside = " ".join(beside.casefold().split())
        lengths = {
            relation: max(
                (sum(map(len, w)) for w in ways if all(x in beside for x in w)), default=0
            )
            for relation, ways in self.cues.items()
        }
        relation = max(lengths, key=lengths.__getitem__)
        if not lengths[relation]:
            raise ValueError(
                f"A question names a relation by one of its cues. Received: {question!r}"
            )
        return Asked(names[0], relation)


def answer_question(
    question: str, reader: QuestionReader, walker: Walker, count: int = 3
) -> list[Answer]:
    """Answers to a question in words, each with its path: what the graph's training triples know is looked up, what they
    lack is walked to.

    Args:
        question: str.
        reader: QuestionReader of the walker's graph.
        walker: Walker.
        count: int, answers at most.

    Raises:
        ValueError: see ``QuestionReader.read``.
    """
    asked = reader.read(question)
    return known_answers(walker, asked)[:count] or walker.answers(*asked, count)


def known_answers(walker: Walker, asked: Asked) -> list[Answer]:
    """What the training triples of the walker's graph answer: paths of one edge."""
    vocabulary = walker.vocabulary
    head, relation = walker.question(*asked)
    questions = vocabulary.graph.questions("train")
    tails = questions[(questions[:, 0] == head) & (questions[:, 1] == relation), 2]
    start = vocabulary.entity_ids[head], vocabulary.relation_ids[relation]
    return [
        Answer(
            vocabulary.graph.entities[tail],
            1.0,
            vocabulary.text([*start, vocabulary.entity_ids[tail]]),
            ((int(relation), int(tail)),),
        )
        for tail in np.unique(tails)
    ]
