"""A language model that answers questions about a graph by walking in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.applications.knowledge.ranking import filtered_ranks
from tfalign.applications.knowledge.vocabulary import GraphVocabulary
from tfalign.decoding import GraphWalk, SeveralBest


class Answer(NamedTuple):
    """An entity, how likely it is the walker's answer, and the likeliest of the walks that lead there."""

    entity: str
    probability: float  # summed over the walks that were found
    path: str
    steps: tuple[tuple[int, int], ...]  # the same as (relation, entity) numbers


class Walker:
    """Answers by constrained beam search: entities by the probability of all walks found that end there.

    Args:
        model: CausalLM of the vocabulary's tokens.
        vocabulary: GraphVocabulary.
        walk: GraphWalk, where it may walk.
        width: int, walks that are kept for each question.
        chunk: int, questions at a time.
    """

    def __init__(
        self,
        model: Any,
        vocabulary: GraphVocabulary,
        walk: GraphWalk,
        width: int = 64,
        chunk: int = 64,
    ) -> None:
        self.vocabulary, self.chunk = vocabulary, chunk
        self._entity_of, self._relation_of = vocabulary.entity_of(), vocabulary.relation_of()
        self.search = SeveralBest(
            model, walk.max_new_tokens, width, [vocabulary.stop], vocabulary.pad, walk
        )

    def log_probs(self, questions: np.ndarray) -> np.ndarray:
        """float64[N, E], log-probabilities of answers to int[N, 2 or more], heads and relations; minus infinity for an
        entity that no walk was found to."""
        found = []
        for first in range(0, len(questions), self.chunk):
            part = np.asarray(questions)[first : first + self.chunk]
            ends, log_probs, _ = self._walks(part)
            table = np.full((len(part), len(self.vocabulary.entity_ids)), -np.inf)
            rows = np.broadcast_to(np.arange(len(part))[:, None], ends.shape)
            there = ends >= 0
            np.logaddexp.at(table, (rows[there], ends[there]), log_probs[there])
            found.append(table)
        return np.concatenate(found)

    def ranks(self, graph: KnowledgeGraph, split: str) -> np.ndarray:
        """float64[2 N], filtered ranks of a split's tails and heads."""
        questions = graph.questions(split)
        return filtered_ranks(self.log_probs(questions), questions[:, 2], graph.known(questions))

    def answers(self, head: str, relation: str, count: int = 5) -> list[Answer]:
        """The likeliest answers to (head, relation, ?), each with a path.

        Args:
            head: name of an entity.
            relation: name of a relation; with a "~" in front, read backwards.
            count: int, how many at most.

        Raises:
            ValueError: if there is no such entity or relation.
        """
        question = self.question(head, relation)
        ends, log_probs, tokens = (x[0] for x in self._walks(question[None]))
        found = []
        for entity in np.unique(ends[ends >= 0]):
            mine = np.flatnonzero(ends == entity)
            total = float(np.logaddexp.reduce(log_probs[mine]))
            ended = (self.vocabulary.pad, self.vocabulary.stop)
            words = [w for w in tokens[mine[0]].tolist() if w not in ended]
            path = self.vocabulary.text([self.vocabulary.entity_ids[question[0]], *words])
            pairs = zip(
                self._relation_of[words[::2]].tolist(), self._entity_of[words[1::2]].tolist()
            )
            name = self.vocabulary.graph.entities[entity]
            found.append(Answer(name, float(np.exp(total)), path, tuple(pairs)))
        return sorted(found, key=lambda answer: -answer.probability)[:count]

    def question(self, head: str, relation: str) -> np.ndarray:
        """int[2], head and relation by their names, as for ``answers``."""
        graph = self.vocabulary.graph
        name = relation.removeprefix("~")
        for what, one, names in (
            ("entity", head, graph.entities),
            ("relation", name, graph.relations),
        ):
            if one not in names:
                raise ValueError(f"The graph has no such {what}. Received: {one!r}")
        number = graph.relations.index(name)
        number = graph.backwards(number) if relation != name else number
        return np.array([graph.entities.index(head), number])

    def _walks(self, questions):
        """(ends int[n, K], -1 where there is no walk; log-probs float64[n, K]; tokens int32[n, K, R])."""
        padded = np.resize(questions, (self.chunk, questions.shape[1]))
        prompts = self.vocabulary.prompts(padded)
        found = [np.asarray(x)[: len(questions)] for x in self.search(*prompts)]
        tokens, mask, log_probs = found
        entities = np.where(mask, self._entity_of[tokens], -1)
        columns = np.where(entities >= 0, np.arange(tokens.shape[2]), -1).max(axis=2)
        ends = np.take_along_axis(entities, np.maximum(columns, 0)[..., None], axis=2)[..., 0]
        stays = (columns < 0) & mask.any(axis=2)
        ends = np.where(stays, questions[:, :1], ends)
        return np.where(mask.any(axis=2), ends, -1), log_probs.astype("float64"), tokens
