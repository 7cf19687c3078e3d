"""ARPA files, the text format in which back-off models travel (SRILM's manual, ngram-format(5)).

Words are separated by ASCII white space and by nothing else: a no-break space is part of a word, as it
is to KenLM and SRILM. A file's ``<s>`` and ``</s>`` are one token here, the boundary: as a context it begins a sentence, as
a prediction it ends one.
"""

from __future__ import annotations

import gzip
import math
import os
import re
from collections.abc import Iterable

import numpy as np

from tfalign.data import BadFileError, BadRecordError, text_lines
from tfalign.files import ASCII_SPACE, as_path, new_file
from tfalign.language_models.ngram import NGramModel
from tfalign.language_models.ngram_counts import Level, unigram_level

_BEGIN, _END = "<s>", "</s>"
_NEVER = -99.0  # log10 of 0, as SRILM writes it
_LN10 = math.log(10)
_SPACES = re.compile(f"[{ASCII_SPACE}]+")
_UNSPELLABLE = re.compile(f"[{ASCII_SPACE}\0\ud800-\udfff]")
_SIZE = re.compile(r"ngram[ \t]+([0-9]{1,9})[ \t]*=[ \t]*([0-9]{1,18})")
_NUMBER = re.compile(  # "-inf" is log10 of 0
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf)|nan", re.IGNORECASE
)


def write_arpa(model: NGramModel, words: Iterable[str], path: str | os.PathLike) -> None:
    """Writes a back-off model.

    Args:
        model: NGramModel; not an add-k one, whose shorter n-grams have no probability.
        words: sequence of V str, the tokens' spellings; the boundary's is not used.
        path: str or Path; ending in .gz, it is compressed. It is there when it is whole.

    Raises:
        ValueError: if the model cannot be written, or a spelling is empty, repeated or has white
            space in it.
    """
    path = as_path(path)
    words = _checked_words(words, model)
    if any(np.isnan(table).any() for table in model.log_probs):
        raise ValueError("An ARPA file gives every n-gram a probability; an add-k model does not.")
    opener = gzip.open if path.suffix == ".gz" else open
    with (
        new_file(path) as writing,
        opener(writing, "wt", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(_arpa_lines(model, words))


def read_arpa(path: str | os.PathLike) -> tuple[NGramModel, list[str]]:
    """Reads a back-off model.

    Args:
        path: str or Path; ending in .gz, it is decompressed.

    Returns:
        (NGramModel, list of V str, the tokens' spellings in the file's order). Where the file has
        ``<s>``, the token spelled ``</s>`` is the model's boundary.

    Raises:
        FileNotFoundError: if there is no such file.
        BadRecordError: naming the line that is wrong, or the file.
    """
    reader = _Reader(path)
    sizes = reader.header()
    sections = [reader.section(length, size) for length, size in enumerate(sizes, start=1)]
    reader.end()
    (spellings, log_probs, back_offs), *longer = sections
    if len(set(spellings)) < len(spellings):
        raise BadFileError(os.fspath(path), "a 1-gram stands there twice")
    words = [word for word in spellings if word != _BEGIN]
    ids = {word: index for index, word in enumerate(words)}
    if not words:
        raise BadFileError(os.fspath(path), "a model needs a 1-gram besides <s>")
    has_begin = _BEGIN in spellings
    if has_begin and _END not in ids:
        raise BadFileError(os.fspath(path), "there is a 1-gram <s> but no </s>")
    kept = np.array([word != _BEGIN for word in spellings])
    levels, tables, weights = [unigram_level(len(words))], [log_probs[kept]], [back_offs[kept]]
    if has_begin:
        ids[_BEGIN] = ids[_END]
        weights[0][ids[_END]] = back_offs[~kept][0]
    for ngrams, log_probs, back_offs in longer:
        level, order = _level(path, levels, ngrams, ids)
        levels.append(level)
        tables.append(log_probs[order])
        weights.append(back_offs[order])
    model = NGramModel(levels, tables, weights[:-1], ids[_END] if has_begin else None)
    return model, words


def _level(path, levels, ngrams, ids):
    """(the Level of spelled n-grams, the order that sorts them so)."""
    length = len(levels) + 1
    try:
        tokens = np.array([[ids[word] for word in ngram.split(" ")] for ngram in ngrams], np.int64)
    except KeyError as error:
        raise BadFileError(os.fspath(path), f"{error} of a {length}-gram is no 1-gram") from None
    tokens = tokens.reshape(len(ngrams), length)
    rows = tokens[:, 0]
    for level, words in zip(levels[1:], tokens.T[1:]):
        rows = level.find(rows, words)
    if (rows < 0).any():
        lost = ngrams[int(np.argmin(rows))]
        raise BadFileError(
            os.fspath(path), f"the context of the {length}-gram {lost!r} is not in the file"
        )
    vocab_size = len(levels[0])
    keys = rows * vocab_size + tokens[:, -1]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        twice = ngrams[order[int(np.argmax(keys[1:] == keys[:-1]))]]
        raise BadFileError(os.fspath(path), f"the {length}-gram {twice!r} stands there twice")
    return Level(vocab_size, len(levels[-1]), keys), order


class _Reader:
    """An ARPA file from top to bottom."""

    def __init__(self, path):
        self._path = os.fspath(path)
        self._number = 0
        self._lines = text_lines(path)

    def header(self):
        """list of int, how many n-grams of each length the file says it has."""
        while (line := self._next("\\data\\")) != "\\data\\":
            pass
        sizes = []
        while match := _SIZE.fullmatch(line := self._next("\\1-grams:")):
            if int(match[1]) != len(sizes) + 1:
                self._fail(f"the number of {len(sizes) + 1}-grams is missing", line)
            sizes.append(int(match[2]))
        if not sizes:
            self._fail("the header gives no number of n-grams", line)
        self._title = line
        return sizes

    def section(self, length, size):
        """(list of str, float64[N] nats, float64[N] nats): n-grams, log-probs, back-off weights."""
        if self._title != f"\\{length}-grams:":
            self._fail(f"\\{length}-grams: should stand here", self._title)
        ngrams, entries, weights = [], [], []  # as long as the file, whatever its header says
        while not (line := self._next("\\end\\")).startswith("\\"):
            if len(ngrams) == size:
                self._fail(f"the header gives {size} {length}-grams, here is one more", line)
            parts = _SPACES.split(line)
            ngram = " ".join(parts[1 : length + 1])
            numbers = [parts[0], *parts[length + 1 :]]
            if len(parts) not in (length + 1, length + 2) or not all(
                map(_NUMBER.fullmatch, numbers)
            ):
                what = f"a {length}-gram needs log10 p, {length} words and perhaps a weight"
                self._fail(what, line)
            log_prob, weight = map(float, [*numbers, 0.0][:2])
            if not log_prob <= 0:
                self._fail(f"log10 p of {ngram!r} must not be above 0", line)
            if not weight < math.inf:
                self._fail(f"the weight of {ngram!r} must be finite", line)
            ngrams.append(ngram)
            entries.append(log_prob)
            weights.append(weight)
        if len(ngrams) < size:
            self._fail(f"the header gives {size} {length}-grams, {len(ngrams)} are here", line)
        self._title = line
        values = np.array([entries, weights], np.float64)
        log_probs, back_offs = np.where(values > _NEVER, values * _LN10, -np.inf)
        return ngrams, log_probs, back_offs

    def end(self):
        if self._title != "\\end\\":
            self._fail("\\end\\ should stand here", self._title)

    def _next(self, wanted):
        """The next line that is not blank."""
        for line in self._lines:
            self._number += 1
            if line := line.strip(ASCII_SPACE):
                return line
        raise BadFileError(self._path, f"the file ends after line {self._number}, before {wanted}")

    def _fail(self, what, line):
        place = f"{self._path}:{self._number}"
        raise BadRecordError(place, f"{what}. Received: {line[:80]!r}")


def _arpa_lines(model, words):
    """All lines of the file, with their ends."""
    has_boundary = model.boundary is not None
    yield "\\data\\\n"
    for length, level in enumerate(model.levels, start=1):
        yield f"ngram {length}={len(level) + (has_boundary and length == 1)}\n"
    back_offs = [*map(_log10, model.back_offs), None]
    endings = list(words)
    beginnings = list(words)
    if has_boundary:
        beginnings[model.boundary], endings[model.boundary] = _BEGIN, _END
    spelled = None
    for length, level in enumerate(model.levels, start=1):
        yield f"\n\\{length}-grams:\n"
        if length == 1:
            spelled = endings
            if has_boundary:
                yield _line(_NEVER, _BEGIN, back_offs[0][model.boundary])
        else:
            contexts = beginnings if length == 2 else spelled
            last = level.words.tolist()
            spelled = [f"{contexts[p]} {endings[w]}" for p, w in zip(level.prefixes.tolist(), last)]
        weights = back_offs[length - 1]
        weights = [0.0] * len(level) if weights is None else weights
        for entry, ngram, weight in zip(_log10(model.log_probs[length - 1]), spelled, weights):
            yield _line(entry, ngram, 0.0 if ngram == _END and has_boundary else weight)
    yield "\n\\end\\\n"


def _line(log_prob, ngram, weight):
    return f"{log_prob:.9g}\t{ngram}\t{weight:.9g}\n" if weight else f"{log_prob:.9g}\t{ngram}\n"


def _log10(table):
    return np.maximum(table / _LN10, _NEVER).tolist()


def _checked_words(words, model):
    words = list(words)
    if len(words) != model.vocab_size:
        raise ValueError(f"{model.vocab_size} spellings are needed. Received: {len(words)}")
    seen = {_BEGIN, _END} if model.boundary is not None else set()
    for index, word in enumerate(words):
        if index == model.boundary:
            continue
        if not word or word in seen or _UNSPELLABLE.search(word):
            raise ValueError(
                "In an ARPA file every token has a spelling of its own without white space or NUL. "
                f"Received: {word!r}"
            )
        seen.add(word)
    return words
