"""Encoders: texts to vectors of length 1, with a model or without one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from tfalign import backend
from tfalign.data.annotated import between_ends
from tfalign.data.encoding import padding_id
from tfalign.models import SentenceEncoder
from tfalign.pretrained import Pretrained, load
from tfalign.trainers.encoders import backbone_of

Encoder = Callable[[Sequence[str]], np.ndarray]
"""Texts -> float32[N, W], each of length 1, or 0 of a text with nothing in it."""


class TextEncoder:
    """The mean of a pretrained encoder's last states, of length 1 (Reimers and Gurevych 2019).

    >>> from tfalign.models import BERT, BERTConfig
    >>> from tfalign.text import train_word_piece
    >>> tokenizer = train_word_piece(["where is my parcel"], vocab_size=40)
    >>> model = BERT(BERTConfig(tokenizer.vocab_size, width=8, num_layers=1, num_heads=2))
    >>> encode = TextEncoder(Pretrained(model, tokenizer), length=16)
    >>> encode(["where is my parcel?", "is it here?"]).shape
    (2, 8)

    Args:
        model: a directory of an encoder, or what ``tfalign.load`` returned.
        length: maximum sequence length, tokens; longer texts are truncated.
        rows: of a batch.

    Raises:
        ValueError: if there is no such directory, or the model has fewer positions.
    """

    def __init__(
        self, model: str | os.PathLike | Pretrained, length: int = 128, rows: int = 64
    ) -> None:
        pretrained = model if isinstance(model, Pretrained) else load(model)
        backbone = backbone_of(pretrained.model)
        most = backbone.config.max_positions
        if most is not None and length > most:
            raise ValueError(f"The model takes {most} tokens. Received: length={length}")
        self.tokenizer, self.length, self.rows = pretrained.tokenizer, length, rows
        self.model = SentenceEncoder(backbone)
        self.width = backbone.config.width
        self._encode = backend.jit(
            lambda token_ids, mask: self.model(token_ids, padding_mask=mask), self.model.variables
        )

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32[N, W], in the texts' order."""
        tokens = between_ends(texts, self.tokenizer, self.length)
        vectors = np.zeros((len(texts), self.width), "float32")
        order = np.argsort(tokens.lengths, kind="stable")
        for first in range(0, len(order), self.rows):
            chosen = order[first : first + self.rows]
            padded = np.resize(chosen, _rounded(len(chosen), self.rows))
            columns = _rounded(int(tokens.lengths[padded].max()), self.length)
            batch = tokens.padded(padded, columns, padding_id(self.tokenizer))
            vectors[chosen] = np.asarray(self._encode(*batch))[: len(chosen)]
        return vectors


class NGramEncoder:
    """Without a model: how often the runs of 1 to 3 characters of a text occur, hashed into W numbers with a sign
    (Weinberger et al. 2009), roots taken, of length 1. It finds what is worded alike, in any script.

    >>> encode = NGramEncoder(width=512)
    >>> vectors = encode(["我的包裹在哪里", "包裹在哪", "今天天气很好"])
    >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
    True

    Args:
        width: W.
        longest: characters of the longest runs.
    """

    def __init__(self, width: int = 1024, longest: int = 3) -> None:
        if width < 1 or longest < 1:
            raise ValueError(
                f"width and longest must be at least 1. Received: width={width}, longest={longest}"
            )
        self.width, self.longest = width, longest

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32[N, W]."""
        vectors = np.zeros((len(texts), self.width), "float32")
        for row, text in enumerate(texts):
            for run in self._runs(text):
                place, sign = divmod(zlib.crc32(run.encode("utf-8")), 2)
                vectors[row, place % self.width] += 2 * sign - 1
        vectors = np.sign(vectors) * np.sqrt(np.abs(vectors))
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, 1e-12)

    def _runs(self, text):
        text = f" {' '.join(text.lower().split())} "
        for size in range(1, self.longest + 1):
            yield from (text[at : at + size] for at in range(len(text) - size + 1))


def _rounded(count, most):
    """The power of two at or above a number of rows or columns, so that few programs serve all; at most ``most``."""
    return min(1 << (count - 1).bit_length(), most)
