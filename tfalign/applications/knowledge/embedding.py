"""Embeddings of a knowledge graph: a vector for each entity and each relation."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tfalign import backend
from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.applications.knowledge.ranking import filtered_ranks
from tfalign.applications.knowledge.scores import SCORES
from tfalign.types import Array


class Questions(NamedTuple):
    """Questions and an answer to each."""

    heads: Array  # int32[B]
    relations: Array  # int32[B]
    tails: Array  # int32[B]


@keras.saving.register_keras_serializable("tfalign")
class KnowledgeEmbedding(keras.Model):
    """Vectors of entities and relations, which score every entity as an answer to (head, relation).

    Args:
        num_entities: E.
        num_relations: relations, those read backwards counted.
        width: W of an entity's vector; even where vectors are complex.
        score: "complex", "distmult", "rotate" or "transe", see ``knowledge.scores``.

    Call arguments:
        heads, relations: int32[B].

    Returns:
        float32[B, E].

    Raises:
        ValueError: if the score is unknown, or complex vectors have an odd width.

    >>> model = KnowledgeEmbedding(num_entities=3, num_relations=2, width=4)
    >>> model(np.array([0]), relations=np.array([1])).shape
    TensorShape([1, 3])
    """

    def __init__(
        self,
        num_entities: int,
        num_relations: int,
        width: int = 400,
        score: str = "complex",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if score not in SCORES:
            raise ValueError(f"Scores are {', '.join(SCORES)}. Received: score={score!r}")
        if score in ("complex", "rotate") and width % 2:
            raise ValueError(f"Complex vectors have an even width. Received: width={width}")
        self.num_entities, self.num_relations = num_entities, num_relations
        self.width, self.score_name = width, score
        self.score = SCORES[score]
        bilinear = score in ("complex", "distmult")
        scale = 1e-3 if bilinear else 0.5 / np.sqrt(width)  # 1e-3: Lacroix et al. 2018
        small = keras.initializers.RandomNormal(stddev=scale)
        angles = keras.initializers.RandomUniform(-np.pi, np.pi)
        self.entities = self.add_weight(
            name="entities", shape=(num_entities, width), initializer=small
        )
        is_angle = score == "rotate"
        self.relations = self.add_weight(
            name="relations",
            shape=(num_relations, width // 2 if is_angle else width),
            initializer=angles if is_angle else small,
        )
        self.built = True

    def call(self, heads: Array, relations: Array) -> Array:
        return self.score(*self.vectors(heads, relations), ops.convert_to_tensor(self.entities))

    def vectors(self, heads: Array, relations: Array) -> tuple[Array, Array]:
        """Vectors of heads and relations, float32[B, W] each."""
        return ops.take(self.entities, heads, axis=0), ops.take(self.relations, relations, axis=0)

    def moduli(self, vectors: Array) -> Array:
        """Absolute values of the numbers that vectors float32[..., W] are made of."""
        if self.score_name not in ("complex", "rotate"):
            return ops.absolute(vectors)
        re, im = ops.split(vectors, 2, axis=-1)
        return ops.sqrt(ops.square(re) + ops.square(im) + 1e-12)  # a root has no gradient at 0

    def get_config(self) -> dict[str, Any]:
        sizes = ("num_entities", "num_relations", "width")
        return (
            super().get_config()
            | {name: getattr(self, name) for name in sizes}
            | {"score": self.score_name}
        )


class LinkPredictor:
    """Answers questions about a graph with a model's scores, in chunks of one compiled program.

    Args:
        model: KnowledgeEmbedding.
        chunk: int, questions at a time.
    """

    def __init__(self, model: KnowledgeEmbedding, chunk: int = 256) -> None:
        self.model, self.chunk = model, chunk
        self.compiled = backend.jit(
            lambda heads, relations: model(heads, relations=relations), model.variables
        )

    def scores(self, questions: Array) -> np.ndarray:
        """float32[N, E] of int[N, 2 or more]: heads and relations."""
        asked = np.asarray(questions, "int32")[:, :2]
        found = []
        for first in range(0, len(asked), self.chunk):
            part = asked[first : first + self.chunk]
            padded = np.pad(part, ((0, self.chunk - len(part)), (0, 0)))
            found.append(np.asarray(self.compiled(padded[:, 0], padded[:, 1]))[: len(part)])
        return np.concatenate(found)

    def probabilities(self, questions: Array) -> np.ndarray:
        """float32[N, E], the softmax of the scores."""
        scores = self.scores(questions)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def ranks(self, graph: KnowledgeGraph, split: str) -> np.ndarray:
        """float64[2 N], filtered ranks of a split's tails and heads."""
        questions, found = graph.questions(split), []
        for first in range(0, len(questions), self.chunk):
            part = questions[first : first + self.chunk]
            found.append(filtered_ranks(self.scores(part), part[:, 2], graph.known(part)))
        return np.concatenate(found)
