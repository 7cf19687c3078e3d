"""Texts for models whose tokens are words by their spelling, as ARPA files have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from tfalign.files import ASCII_SPACE

UNKNOWN = "<unk>"
_SPACES = re.compile(f"[{ASCII_SPACE}]+")


def encode_words(lines: Iterable[str], words: Sequence[str], boundary: int) -> np.ndarray:
    """Lines as one row of words in which the boundary stands before, between and after them, as ``data.encode_lines``.

    Args:
        lines: texts, words separated by ASCII white space.
        words: V spellings, of which "<unk>" stands for every other word; those of ``read_arpa``.
        boundary: int, the token that ends a line, such as the model's ``boundary``.

    Returns:
        int32[1 + sum of (words of a line + 1)].

    Raises:
        ValueError: if there is a word that is not among those, and no "<unk>".

    >>> encode_words(["the cat sat"], ["</s>", "<unk>", "the", "sat"], 0)
    array([0, 2, 1, 3, 0], dtype=int32)
    """
    ids = {word: index for index, word in enumerate(words)}
    row = [boundary]
    for line in lines:
        for word in filter(None, _SPACES.split(line)):
            known = ids.get(word, ids.get(UNKNOWN))
            if known is None:
                raise ValueError(f"The model has no <unk> for other words. Received: {word!r}")
            row.append(known)
        row.append(boundary)
    return np.array(row, np.int32)
