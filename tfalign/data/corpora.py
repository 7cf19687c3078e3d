"""Running text, for language models that read one long row of tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from tfalign.data.examples import LanguageModelExamples, Ragged
from tfalign.data.readers import text_lines
from tfalign.files import ASCII_SPACE
from tfalign.text import Tokenizer


def read_corpus(path: str | os.PathLike) -> list[str]:
    """The lines of a text file.

    Args:
        path: str or Path; ending in .gz, it is decompressed.

    Returns:
        list of str, each with its line feed but perhaps the last.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, not UTF-8 or has nothing but white space.
    """
    lines = list(text_lines(path))
    if not any(line.strip(ASCII_SPACE) for line in lines):
        raise ValueError(f"{path}: a corpus needs text. Received: {len(lines)} blank lines")
    return lines


def encode_lines(lines: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    """A corpus as one row of tokens in which EOS stands before, between and after lines.

    Args:
        lines: sequence of str.
        tokenizer: ``tfalign.text.Tokenizer`` with an "eos".

    Returns:
        int32[1 + sum of (tokens of a line + 1)].
    """
    rows = tokenizer.encode_batch([line.rstrip("\r\n") for line in lines], eos=True)
    return np.array([tokenizer.eos_id, *(token for row in rows for token in row)], np.int32)


def encode_running_text(lines: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    """A corpus as one row of tokens, its line feeds among them, with EOS before it alone.

    Args:
        lines: sequence of str, with their line feeds.
        tokenizer: ``tfalign.text.Tokenizer`` with an "eos".

    Returns:
        int32[1 + tokens of the text].
    """
    return np.array([tokenizer.eos_id, *tokenizer.encode("".join(lines))], np.int32)


def one_text(token_ids: np.ndarray) -> LanguageModelExamples:
    """A row of tokens as the one example of a ``BatchStream``, every token but the first a target.

    Args:
        token_ids: int[N].

    Returns:
        LanguageModelExamples.
    """
    token_ids = np.asarray(token_ids, np.int32)
    return LanguageModelExamples(
        records=(None,),
        bad=(),
        pad_id=0,
        tokens=Ragged([token_ids]),
        is_target=np.ones(len(token_ids), bool),
    )
