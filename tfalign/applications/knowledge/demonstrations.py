"""Walks that end at an answer, sampled from a graph: what a language model imitates before it is aligned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.applications.knowledge.vocabulary import GraphVocabulary
from tfalign.types import LanguageModelBatch


class WalkDemonstrations:
    """Endless batches of walks and of facts, for ``LanguageModelling``.

    A row asks a training question of the graph, in either direction, and answers it by a walk to one of its answers;
    without the edges that answer the question. In a fraction of the rows it is told at once, as a fact.

    All lengths that there are, and all walks of a length, are equally likely; with ``candidates`` that many are sampled so,
    and of these one, in proportion to confidence^``sharpness``. The confidence of a walk's relations in an
    asked one is that of the rule "whoever they join, it joins, too" (Galarraga et al. 2013): so the walks are those
    that would be right again.

    Args:
        vocabulary: GraphVocabulary.
        batch_size: int.
        max_hops: int, edges of the longest walk.
        facts: float in [0, 1], fraction of facts.
        candidates: int, walks of which one is taken.
        sharpness: float >= 0.
        seed: int.
        over_answers: bool, whether only the edge to the answer that a row walks to is missing, and not those to the
            question's other answers, see ``OtherAnswersWalk``.

    >>> from tfalign.applications.knowledge import embedded_graph
    >>> vocabulary = GraphVocabulary(embedded_graph())
    >>> batch = next(WalkDemonstrations(vocabulary, batch_size=4, max_hops=2, facts=0.0, seed=0))
    >>> batch.token_ids.shape
    (4, 8)
    """

    def __init__(
        self,
        vocabulary: GraphVocabulary,
        batch_size: int,
        max_hops: int = 2,
        facts: float = 0.5,
        seed: int = 0,
        candidates: int = 1,
        sharpness: float = 2.0,
        over_answers: bool = False,
    ) -> None:
        self.vocabulary, self.batch_size, self.max_hops = vocabulary, batch_size, max_hops
        self.facts, self.seed = facts, seed
        self.candidates, self.sharpness = candidates, sharpness
        self.over_answers = over_answers
        self.questions = vocabulary.graph.questions("train")
        self.num_batches = max(len(self.questions) // batch_size, 1)
        self._step = 0
        self._hold()
        self._confidences = []
        if candidates > 1:
            self._confidences = rule_confidences(vocabulary.graph, max_hops)

    def __iter__(self) -> WalkDemonstrations:
        return self

    def __next__(self) -> LanguageModelBatch:
        random = np.random.default_rng([self.seed, self._step])
        self._step += 1
        asked = self.questions[random.integers(0, len(self.questions), self.batch_size)]
        relations, entities, hops = self.chosen(asked, random)
        return self._batch(asked, relations, entities, hops, random.random(len(asked)) < self.facts)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON can hold it."""
        return {"step": self._step, "seed": self.seed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to where ``state`` was taken."""
        self._step = state["step"]

    def chosen(self, asked: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        """A walk to the answer of each question, of several candidates; see ``sampled``."""
        if self.candidates == 1:
            return self.sampled(asked, random)
        found = self.sampled(np.repeat(asked, self.candidates, axis=0), random)
        weights = self._confidence(np.repeat(asked[:, 1], self.candidates), found[0], found[2])
        weights = weights.reshape(-1, self.candidates) ** self.sharpness
        cumulative = np.cumsum(weights, axis=1)
        places = random.random(len(asked)) * cumulative[:, -1]
        taken = (cumulative <= places[:, None]).sum(axis=1)
        rows = np.arange(len(asked)) * self.candidates + np.minimum(taken, self.candidates - 1)
        relations, entities, hops = (x[rows] for x in found)
        return relations, entities, np.where(cumulative[:, -1] > 0, hops, 0)

    def sampled(self, asked: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        """A walk to the answer of each question.

        Args:
            asked: int[B, 3], head, relation, answer.
            random: generator.

        Returns:
            (relations int[B, H], entities int[B, H], hops int[B]), 0 hops where no walk was found.
        """
        heads, answers = asked[:, 0], asked[:, 2]
        walks = np.stack([power[heads, answers] for power in self._counts], axis=1) > 0
        scores = np.where(walks, random.random(walks.shape), -1.0)
        hops = np.where(walks.any(axis=1), scores.argmax(axis=1) + 1, 0)
        here = heads
        relations, entities = np.zeros((2, len(asked), self.max_hops), "int64")
        for t in range(self.max_hops):
            left = np.maximum(hops - t - 1, 0)
            following = self._following(here, answers, left, random)
            there = np.where(t < hops, following, here)
            relations[:, t] = self._relation(here, there, random)
            entities[:, t], here = there, there
        walked = np.arange(self.max_hops) < hops[:, None]
        uses = walked & self._answers(asked, relations, entities)
        return relations, entities, np.where(uses.any(axis=1), 0, hops)

    def _hold(self):
        """How many walks of each length there are between two entities, and which relations join them."""
        graph = self.vocabulary.graph
        size = len(graph.entities)
        heads, relations, tails = self.questions.T
        edges = np.zeros((size, size))
        np.add.at(edges, (heads, tails), 1.0)
        self._counts = [edges]
        for _ in range(self.max_hops - 1):
            self._counts.append(edges @ self._counts[-1])
        keys = heads.astype("int64") * size + tails
        order = np.argsort(keys, kind="stable")
        self._joining, self._keys = relations[order], keys[order]

    def _confidence(self, asked, relations, hops):
        """float[B], of walks' relations in the asked ones; 0 where there is no walk."""
        count = self.vocabulary.graph.num_relations
        confidences, number = np.zeros(len(asked)), np.zeros(len(asked), "int64")
        for t, table in enumerate(self._confidences):
            number = number * count + relations[:, t]
            confidences = np.where(hops == t + 1, table[number, asked], confidences)
        return confidences

    def _following(self, here, answers, left, random):
        """int[B], the next entity, by how many walks go on from it to the answer in ``left`` hops."""
        at_end = np.eye(len(self._counts[0]))
        weights = self._counts[0][here] * np.stack(
            [at_end[:, a] if n == 0 else self._counts[n - 1][:, a] for n, a in zip(left, answers)]
        )
        cumulative = np.cumsum(weights, axis=1)
        chosen = random.random(len(here)) * cumulative[:, -1]
        return np.minimum((cumulative <= chosen[:, None]).sum(axis=1), weights.shape[1] - 1)

    def _relation(self, here, there, random):
        """int[B], one of the relations that join two entities; 0 where none does."""
        keys = here.astype("int64") * len(self._counts[0]) + there
        first, last = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        places = first + (random.random(len(keys)) * (last - first)).astype("int64")
        return np.where(last > first, self._joining[np.minimum(places, len(self._joining) - 1)], 0)

    def _answers(self, asked, relations, entities):
        """bool[B, H], whether a hop is an edge that is hidden from the question, read in either direction."""
        heads, asked_for = asked[:, :1], asked[:, 1:2]
        before = np.concatenate([heads, entities[:, :-1]], axis=1)
        backwards = self.vocabulary.graph.backwards(asked_for)
        answers = (before == heads) & (relations == asked_for)
        if self.over_answers:  # one that leads elsewhere may be taken, once
            is_again = np.cumsum(answers, axis=1) > 1
            answers &= (entities == asked[:, 2:3]) | (entities == heads) | is_again
        return answers | ((entities == heads) & (relations == backwards))

    def _batch(self, asked, relations, entities, hops, is_fact):
        names, kinds = self.vocabulary.entity_ids, self.vocabulary.relation_ids
        rows, longest = len(asked), 2 * self.max_hops + 1
        walk = np.stack([kinds[relations], names[entities]], axis=2).reshape(rows, -1)
        ids = np.full((rows, 3 + longest), self.vocabulary.pad, "int32")
        ids[:, 0] = np.where(is_fact, self.vocabulary.tell, self.vocabulary.ask)
        ids[:, 1], ids[:, 2] = kinds[asked[:, 1]], names[asked[:, 0]]
        ids[:, 3:-1] = walk
        ids[np.arange(rows), 3 + 2 * hops] = self.vocabulary.stop
        ids[is_fact, 3], ids[is_fact, 4] = names[asked[is_fact, 2]], self.vocabulary.stop
        lengths = np.where(is_fact, 2, np.where(hops > 0, 2 * hops + 1, 0))
        columns = np.arange(ids.shape[1])
        mask = columns < 3 + lengths[:, None]
        ids = np.where(mask, ids, self.vocabulary.pad)
        return LanguageModelBatch(ids, mask, mask & (columns >= 3), mask.astype("int32"))


def rule_confidences(graph: KnowledgeGraph, max_hops: int) -> list[np.ndarray]:
    """How often entities that relations join one after the other are joined by another relation, too.

    Args:
        graph: KnowledgeGraph, of which the training triples count, read in both directions.
        max_hops: int, length of the longest chain.

    Returns:
        list of float32[(2 R)^h, 2 R] for h of 1 to ``max_hops``: of the chain numbered r1, r1 2R + r2, ... the fraction of
        its pairs of entities that each relation joins; 0 where it joins none.
    """
    size, count = len(graph.entities), graph.num_relations
    joins = np.zeros((count, size, size), "float32")
    heads, relations, tails = graph.questions("train").T
    joins[relations, heads, tails] = 1.0
    flat, chains, found = joins.reshape(count, -1), [joins], []  # of chains, ``count`` at a time
    for hop in range(max_hops):
        tables = []
        for block in chains:
            both = block.reshape(count, -1) @ flat.T
            tables.append(both / np.maximum(block.sum(axis=(1, 2)), 1.0)[:, None])
        found.append(np.concatenate(tables))
        if hop + 1 < max_hops:
            chains = [np.minimum(chain @ joins, 1.0) for block in chains for chain in block]
    return found
