"""Semantic search: an index of vectors, and encoders of texts that fill it and ask it."""

from tfalign.applications.search.approximate import ApproximateIndex
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
from tfalign.applications.search.lexicon import Lexicon, word_translations
from tfalign.applications.search.student import han_words, student_of, student_tokenizer

__all__ = [
    "ApproximateIndex",
    "DistillationOptions",
    "DistillationTrainer",
    "Encoder",
    "Found",
    "Hit",
    "Index",
    "Lexicon",
    "NGramEncoder",
    "TextEncoder",
    "TextsWithVectors",
    "VectorDistillation",
    "bitext_retrieval",
    "embedded_corpus",
    "embedded_translations",
    "han_words",
    "student_of",
    "student_tokenizer",
    "word_translations",
]
