"""Knowledge graphs as text: a token for each entity, for each relation and its reverse, and marks of what is asked."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.decoding import GraphWalk, HiddenAnswerWalk, OtherAnswersWalk
from tfalign.text import Tokenizer, train_words
from tfalign.types import Prompts

_SPECIAL = {"eos": "<end>", "unk": "<unk>", "pad": "<pad>", "bos": "?", "tell": "!"}


class GraphVocabulary:
    """What a language model that walks in a graph reads and writes.

    A question is "?", a relation, an entity; its answer a walk: relation, entity, relation, entity, end. A fact is
    "!", a relation, an entity, and the entity that fits. Relations are written with their direction.

    Args:
        graph: KnowledgeGraph.

    Attributes:
        tokenizer: Tokenizer of words, which puts "?" in front of a prompt.
        entity_ids: int32[E], tokens.
        relation_ids: int32[2 R].
        ask, tell, stop: tokens of "?", "!" and the end.

    Raises:
        ValueError: if two names are spelled alike.

    >>> graph = KnowledgeGraph.of([("Rome", "capital of", "Italy")])
    >>> vocabulary = GraphVocabulary(graph)
    >>> italy, rome = vocabulary.entity_ids
    >>> vocabulary.text([rome, vocabulary.relation_ids[0], italy])
    'Rome -capital of-> Italy'
    """

    def __init__(self, graph: KnowledgeGraph) -> None:
        self.graph = graph
        entities = [_one_word(name) for name in graph.entities]
        relations = [f"-{_one_word(name)}->" for name in graph.relations]
        relations += [f"<-{_one_word(name)}-" for name in graph.relations]
        words = [*entities, *relations]
        if len(set(words) | set(_SPECIAL.values())) < len(words) + len(_SPECIAL):
            twice = sorted({w for w in words if words.count(w) > 1 or w in _SPECIAL.values()})
            raise ValueError(f"Every name is spelled in its own way. Received: {twice[0]!r} twice")
        self.tokenizer: Tokenizer = train_words(words, special_tokens=_SPECIAL)
        ids = {word: self.tokenizer.core.token_to_id(word) for word in words}
        self.entity_ids = np.array([ids[word] for word in entities], "int32")
        self.relation_ids = np.array([ids[word] for word in relations], "int32")
        self.ask, self.tell = self.tokenizer.bos_id, self.tokenizer.special_ids["tell"]
        self.stop, self.pad = self.tokenizer.eos_id, self.tokenizer.pad_id

    @property
    def size(self) -> int:
        """V."""
        return self.tokenizer.vocab_size

    def entity_of(self) -> np.ndarray:
        """int32[V], the entity that a token is; -1 where it is none."""
        return _inverse(self.entity_ids, self.size)

    def relation_of(self) -> np.ndarray:
        """int32[V], the same of relations."""
        return _inverse(self.relation_ids, self.size)

    def edges(self) -> np.ndarray:
        """int32[N, 3], the training triples and their reverses, in tokens."""
        heads, relations, tails = self.graph.questions("train").T
        return np.stack(
            [self.entity_ids[heads], self.relation_ids[relations], self.entity_ids[tails]], axis=1
        )

    def walk(self, max_hops: int, min_hops: int = 1, hides_answers: bool = True) -> GraphWalk:
        """The constraint to walks in the training graph.

        Args:
            max_hops, min_hops: see ``GraphWalk``.
            hides_answers: whether the edges that answer a question are hidden from it, as in training.
        """
        given = (self.edges(), self.size, self.stop, max_hops, min_hops)
        if not hides_answers:
            return GraphWalk(*given)
        return HiddenAnswerWalk(*given, inverse=self._inverse())

    def walk_over_answers(self, max_hops: int, min_hops: int = 1) -> OtherAnswersWalk:
        """The constraint to walks that hides only the edge to the answer at which a walk ends; arguments as for ``walk``."""
        given = (self.edges(), self.size, self.stop, max_hops, min_hops)
        return OtherAnswersWalk(*given, inverse=self._inverse())

    def _inverse(self):
        """Token of a relation -> that of the same read backwards."""
        backwards = self.graph.backwards(np.arange(self.graph.num_relations))
        return dict(zip(self.relation_ids.tolist(), self.relation_ids[backwards].tolist()))

    def prompts(self, questions: np.ndarray) -> Prompts:
        """Prompts int32[N, 3] of int[N, 2 or more]: heads and relations."""
        heads, relations = np.asarray(questions)[:, 0], np.asarray(questions)[:, 1]
        asked = np.full(len(heads), self.ask, "int32")
        ids = np.stack([asked, self.relation_ids[relations], self.entity_ids[heads]], axis=1)
        return Prompts(ids, np.ones(ids.shape, "bool"))

    def prompt_texts(self, questions: np.ndarray) -> list[str]:
        """The same as texts, without the mark, which the tokenizer puts in front."""
        return self.tokenizer.decode_batch(self.prompts(questions).token_ids[:, 1:].tolist())

    def questions_of(self, token_ids: np.ndarray) -> np.ndarray:
        """int32[N, 2], heads and relations, of left-padded prompts int[N, P]."""
        ids = np.asarray(token_ids)
        return np.stack([self.entity_of()[ids[:, -1]], self.relation_of()[ids[:, -2]]], axis=1)

    def text(self, token_ids: Iterable[int]) -> str:
        """A walk as a person reads it; names keep their spaces."""
        return self.tokenizer.decode([int(i) for i in token_ids]).replace(_SPACE, " ")


_SPACE = "\u00a0"  # a part of words to the tokenizer


def _one_word(name):
    return _SPACE.join(name.split())


def _inverse(ids, size):
    numbers = np.full(size, -1, "int32")
    numbers[ids] = np.arange(len(ids))
    return numbers
