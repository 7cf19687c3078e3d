"""Semantic search: an index of vectors, and encoders of texts that fill it and ask it."""

from tfalign.applications.search.distillation import (
    DistillationOptions,
    DistillationTrainer,
    TextsWithVectors,
    VectorDistillation,
    bitext_retrieval,
)
from tfalign.applications.search.embedded import embedded_corpus, embedded_translations
from tfalign.applications.search.encoders import Encoder, NGramEncoder, TextEncoder
from tfalign.applications.search.index import Found, Hit, Index

__all__ = [
    "DistillationOptions",
    "DistillationTrainer",
    "Encoder",
    "Found",
    "Hit",
    "Index",
    "NGramEncoder",
    "TextEncoder",
    "TextsWithVectors",
    "VectorDistillation",
    "bitext_retrieval",
    "embedded_corpus",
    "embedded_translations",
]
