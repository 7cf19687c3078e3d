"""Language models of every kind under one interface: counted, and computed by a network."""

from tfalign.language_models.arpa import read_arpa, write_arpa
from tfalign.language_models.language_model import LanguageModel
from tfalign.language_models.neural import NeuralLanguageModel
from tfalign.language_models.ngram import NGramModel
from tfalign.language_models.ngram_counts import NGramCounts, count_ngrams
from tfalign.language_models.smoothing import add_k, katz, kneser_ney, maximum_likelihood
from tfalign.language_models.words import encode_words

__all__ = [
    "LanguageModel",
    "NGramCounts",
    "NGramModel",
    "NeuralLanguageModel",
    "add_k",
    "count_ngrams",
    "encode_words",
    "katz",
    "kneser_ney",
    "maximum_likelihood",
    "read_arpa",
    "write_arpa",
]
