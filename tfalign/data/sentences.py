"""Documents to stretches of text for BERT's pretraining, drawn anew in every epoch.

A text is sentences in a row of one document, cut to the length of a row. ``sentence_pairs`` makes
two of them, of which the second follows the first or is of another document (Devlin et al. 2019,
section 3.1); ``single_texts`` makes one (DOC-SENTENCES of Liu et al. 2019, RoBERTa).
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfalign.data.corpora import read_corpus
from tfalign.data.encoding import padding_id
from tfalign.data.examples import Examples, Ragged
from tfalign.files import ASCII_SPACE
from tfalign.text import Tokenizer

_TITLE = re.compile(r"\s*= [^=].* =\s*$", re.ASCII)
_HEADING = re.compile(r"\s*=.*=\s*$", re.ASCII)
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=\S)", re.ASCII)  # no sentence ends at a no-break space
_UNKNOWN = "<unk>"  # what wikitext writes for a rare word
_ESCAPED = re.compile(r" @([-,.])@ ")  # and for what stands within one
_INSIDE_WORD = "##"


def read_documents(path: str | os.PathLike) -> list[list[str]]:
    """The documents of a corpus, as lists of sentences.

    A document begins at a title, ``= Title =`` as in wikitext, whose headings are left out; where
    there are no titles, after a blank line. A sentence ends with a line, or with white space
    behind a full stop, a question mark or an exclamation mark.

    Args:
        path: str or Path, a text file; ending in .gz, it is decompressed.

    Returns:
        list of lists of str.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, not UTF-8, has no text or nothing but headings.
    """
    lines = read_corpus(path)
    has_titles = any(_TITLE.match(line) for line in lines)
    documents = [[]]
    for line in lines:
        if _TITLE.match(line) or not (has_titles or line.strip(ASCII_SPACE)):
            documents.append([])
        elif line.strip(ASCII_SPACE) and not (has_titles and _HEADING.match(line)):
            documents[-1] += _sentences(line)
    documents = [document for document in documents if document]
    if not documents:
        raise ValueError(f"{path}: a corpus needs sentences. Received: {len(lines)} headings")
    return documents


def sentences_of(text: str) -> list[str]:
    """The sentences of a document, which end as those of ``read_documents``.

    >>> sentences_of("It rains. Or not?\\nWell")
    ['It rains.', 'Or not?', 'Well']
    """
    lines = text.split("\n")
    return [sentence for line in lines if line.strip(ASCII_SPACE) for sentence in _sentences(line)]


def _sentences(line):
    return _SENTENCE_END.split(_ESCAPED.sub(r"\1", line.strip(ASCII_SPACE)))


@dataclasses.dataclass(frozen=True)
class DocumentExamples(Examples):
    """Encoded documents; ``records`` are the documents.

    Attributes:
        sentences: Ragged of all sentences, in order.
        first_sentences: int64[N + 1], of each document, and their number.
        begins_word: bool[V], tokens that do not go on with a word.
        ordinary: int32[number], ids of the tokens that may be hidden and stand for hidden ones.
        cls_id, sep_id, mask_id: ints.
    """

    sentences: Ragged
    first_sentences: np.ndarray
    begins_word: np.ndarray
    ordinary: np.ndarray
    cls_id: int
    sep_id: int
    mask_id: int

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.sentences.tokens, self.sentences.lengths, self.first_sentences)


def encode_documents(documents: Sequence[Sequence[str]], tokenizer: Tokenizer) -> DocumentExamples:
    """Documents as tokens.

    Args:
        documents: list of lists of str; ``<unk>`` is the tokenizer's unk token.
        tokenizer: ``tfalign.text.Tokenizer``, a WordPiece one with "cls", "sep", "mask" and "unk".

    Returns:
        DocumentExamples; sentences without a token are left out, and documents without a sentence.

    Raises:
        ValueError: if the tokenizer lacks a special token, or nothing is left.
    """
    for role in ("cls", "sep", "mask", "unk"):
        if role not in tokenizer.special_ids:
            raise ValueError(
                f"Masking needs a tokenizer with a {role} token. "
                f"Received roles: {', '.join(tokenizer.special_ids) or 'none'}"
            )
    unknown = tokenizer.special_tokens["unk"]
    flat = [s.replace(_UNKNOWN, unknown) for document in documents for s in document]
    encoded = iter(tokenizer.encode_batch(flat, allow_special=True))
    rows = [[row for row in (next(encoded) for _ in document) if row] for document in documents]
    kept = [index for index, row in enumerate(rows) if row]
    if not kept:
        raise ValueError(f"{len(documents)} documents have no token")
    counts = [len(rows[index]) for index in kept]
    pieces = [tokenizer.token(index) for index in range(tokenizer.vocab_size)]
    ordinary = [index for index in range(len(pieces)) if not tokenizer.is_special(index)]
    return DocumentExamples(
        records=tuple(documents[index] for index in kept),
        bad=(),
        pad_id=padding_id(tokenizer),
        sentences=Ragged([sentence for index in kept for sentence in rows[index]]),
        first_sentences=np.cumsum([0, *counts]),
        begins_word=np.array([not (piece or "").startswith(_INSIDE_WORD) for piece in pieces]),
        ordinary=np.array(ordinary, np.int32),
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        mask_id=tokenizer.mask_id,
    )


class Texts(NamedTuple):
    """Stretches of the flat tokens, one or two a row; int64[N] each."""

    starts: np.ndarray  # int64[N, 2]
    lengths: np.ndarray  # int64[N, 2]; 0 where there is no second
    is_random: np.ndarray  # int64[N], 1 where the second is of another document
    documents: np.ndarray  # int64[N], the first's


def sentence_pairs(examples: DocumentExamples, columns: int, random: np.random.Generator) -> Texts:
    """Two texts a row: sentences in a row, cut in two at random, of which in half of the rows the second
    part is replaced by sentences of another document, and then begins the next row.

    Args:
        examples: DocumentExamples of at least two documents.
        columns: int, of a row with CLS and two SEPs.
        random: np.random.Generator.

    Returns:
        Texts. Of a pair that is too long, the longer text is cut at its beginning and its end by turns
        that are drawn. A document's last sentence alone makes no pair.

    Raises:
        ValueError: if there are fewer than two documents.
    """
    if len(examples) < 2:
        raise ValueError(
            f"Pairs of sentences need two documents or more. Received: {len(examples)}"
        )
    room = columns - 3
    lengths = examples.sentences.lengths.tolist()
    rows = []
    for document in random.permutation(len(examples)).tolist():
        first, end = examples.first_sentences[document : document + 2].tolist()
        while end - first > 1:
            last, size = first + 1, lengths[first]
            while last < end and (size < room or last - first < 2):
                size += lengths[last]
                last += 1
            cut = int(random.integers(first + 1, last))
            if random.random() < 0.5:
                wanted = sum(lengths[cut:last])
                span = _elsewhere(examples, lengths, document, wanted, random)
                rows.append((first, cut, *span, 1, document))
                first = cut
            else:
                rows.append((first, cut, cut, last, 0, document))
                first = last
    rows = np.array(rows, np.int64).reshape(-1, 6)
    ends = np.append(examples.sentences.starts, len(examples.sentences.tokens))
    starts = ends[rows[:, [0, 2]]]
    return _cut(Texts(starts, ends[rows[:, [1, 3]]] - starts, rows[:, 4], rows[:, 5]), room, random)


def single_texts(examples: DocumentExamples, columns: int, random: np.random.Generator) -> Texts:
    """One text a row: as many sentences in a row as fill it, cut at its end.

    Args, returns: as ``sentence_pairs``, of which it is the half.
    """
    room = columns - 2
    lengths = examples.sentences.lengths.tolist()
    rows = []
    for document in random.permutation(len(examples)).tolist():
        first, end = examples.first_sentences[document : document + 2].tolist()
        while first < end:
            last, size = first, 0
            while last < end and size < room:
                size += lengths[last]
                last += 1
            rows.append((first, last, document))
            first = last
    rows = np.array(rows, np.int64)
    ends = np.append(examples.sentences.starts, len(examples.sentences.tokens))
    none, starts = np.zeros(len(rows), np.int64), ends[rows[:, 0]]
    many = np.minimum(ends[rows[:, 1]] - starts, room)
    return Texts(np.stack([starts, none], axis=1), np.stack([many, none], axis=1), none, rows[:, 2])


def _elsewhere(examples, lengths, document, wanted, random):
    """Sentences of another document around one of them: as many tokens as what they replace, so that
    lengths do not tell, where the document has them."""
    other = int(random.integers(len(examples) - 1))
    other += other >= document
    start, end = examples.first_sentences[other : other + 2].tolist()
    first = last = int(random.integers(start, end))
    while last < end and wanted > 0:
        wanted -= lengths[last]
        last += 1
    while first > start and wanted > 0:
        first -= 1
        wanted -= lengths[first]
    return first, last


def _cut(texts, room, random):
    """The pairs cut to ``room`` tokens: the longer text loses some until it is the shorter one."""
    first, second = texts.lengths.T
    half = room // 2
    kept_first = np.minimum(first, np.maximum(room - second, room - half))
    kept_second = np.minimum(second, room - kept_first)
    kept = np.stack([kept_first, kept_second], axis=1)
    lost = texts.lengths - kept
    return texts._replace(starts=texts.starts + random.binomial(lost, 0.5), lengths=kept)
