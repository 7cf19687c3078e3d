"""What a walk in a knowledge graph earns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfalign.applications.knowledge.vocabulary import GraphVocabulary
from tfalign.types import Array


class WalkReward:
    """1 for a walk that ends at an answer, else 0; with a potential, each hop earns what it gains of it.

    Potential-based shaping (Ng et al. 1999): a hop to entity e earns Phi(e) - Phi(the entity before), and the end
    gives back what the last one had. Phi is 0 before the first hop, so a walk earns in all what it earns without
    shaping, and the best policy is the same, of any trade with a KL penalty. What changes is when it is earned, and so
    what a critic and GAE learn from a hop.

    Args:
        vocabulary: GraphVocabulary.
        answers: (head, relation) -> entities, see ``answers_of``.
        potential: float[N of questions, E], Phi of each entity for a question, such as
            ``LinkPredictor.probabilities``; None for no shaping.
        questions: int[N, 2 or more], heads and relations, of the potential's rows.
        scale: float, Phi is multiplied by it.

    Raises:
        ValueError: if there is a potential without its questions, or of other ones.

    >>> from tfalign.applications.knowledge import KnowledgeGraph
    >>> vocabulary = GraphVocabulary(KnowledgeGraph.of([("a", "r", "b"), ("b", "r", "c")]))
    >>> a, b, c = vocabulary.entity_ids
    >>> r = vocabulary.relation_ids[0]
    >>> walk = np.array([[vocabulary.ask, r, a, r, b, r, c, vocabulary.stop]])
    >>> mask = np.ones((1, 8), "bool")
    >>> shaped = WalkReward(vocabulary, {(0, 0): [2]}, np.array([[0.0, 0.25, 0.5]]), np.array([[0, 0]]))
    >>> shaped(walk, mask, mask[:, 3:])
    array([[0.  , 0.25, 0.  , 0.25, 0.5 ]], dtype=float32)
    """

    def __init__(
        self,
        vocabulary: GraphVocabulary,
        answers: Mapping[tuple[int, int], Array],
        potential: Array | None = None,
        questions: Array | None = None,
        scale: float = 1.0,
    ) -> None:
        if (potential is None) != (questions is None) or (
            potential is not None and len(potential) != len(questions)
        ):
            raise ValueError(
                "A potential has a row for each of its questions. Received: "
                f"{_length(potential)} rows, {_length(questions)} questions"
            )
        self.vocabulary = vocabulary
        self.answers = {asked: frozenset(np.asarray(a).tolist()) for asked, a in answers.items()}
        self.potential = None if potential is None else np.asarray(potential) * scale
        self._row_of = {}
        if questions is not None:
            asked = np.asarray(questions)[:, :2].tolist()
            self._row_of = {tuple(pair): row for row, pair in enumerate(asked)}
        self._entity_of = vocabulary.entity_of()

    def __call__(self, token_ids: Array, padding_mask: Array, response_mask: Array) -> np.ndarray:
        """float32[B, R], what each token earned, see ``Responder``."""
        del padding_mask
        ids, mask = np.asarray(token_ids), np.asarray(response_mask)
        length = mask.shape[1]
        asked = self.vocabulary.questions_of(ids[:, :-length])
        entities = np.where(mask, self._entity_of[ids[:, -length:]], -1)  # -1 at other tokens
        columns = np.where(entities >= 0, np.arange(length), -1)
        last = np.maximum.accumulate(columns, axis=1)[:, -1]
        rows = np.arange(len(ids))
        ends = np.where(last >= 0, entities[rows, last], asked[:, 0])
        earned = np.zeros(mask.shape, "float32")
        stops = np.maximum(mask.sum(axis=1) - 1, 0)
        earned[rows, stops] = [
            float(end in self.answers.get(tuple(pair), ()))
            for end, pair in zip(ends.tolist(), asked.tolist())
        ]
        return earned if self.potential is None else earned + self._shaping(asked, entities, stops)

    def _shaping(self, asked, entities, stops):
        """float32[B, R], differences of the potential, which add up to 0."""
        rows = np.array([self._row_of[tuple(pair)] for pair in asked.tolist()])
        potential = np.where(entities >= 0, self.potential[rows[:, None], entities], 0.0)
        before = np.zeros(len(rows))
        shaping = np.zeros(entities.shape, "float32")
        for t in range(entities.shape[1]):
            is_entity = entities[:, t] >= 0
            shaping[is_entity, t] = (potential[:, t] - before)[is_entity]
            before = np.where(is_entity, potential[:, t], before)
        shaping[np.arange(len(rows)), stops] -= before
        return shaping


def _length(rows):
    return "no" if rows is None else len(rows)
