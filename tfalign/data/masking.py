"""Documents to texts with hidden tokens, for BERT's pretraining; drawn anew in every epoch.

A text is sentences in a row of one document, cut to the length of a row. ``sentence_pairs`` makes
two of them, of which the second follows the first or is of another document (Devlin et al. 2019,
section 3.1); ``single_texts`` makes one (DOC-SENTENCES of Liu et al. 2019, RoBERTa).
"""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import numpy as np

from tfalign.data.batches import BatchStream
from tfalign.data.corpora import read_corpus
from tfalign.data.encoding import padding_id
from tfalign.data.examples import Examples, Ragged
from tfalign.types import MaskedTexts

_TITLE = re.compile(r"\s*= [^=].* =\s*$")
_HEADING = re.compile(r"\s*=.*=\s*$")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=\S)")
_UNKNOWN = "<unk>"  # what wikitext writes for a rare word
_ESCAPED = re.compile(r" @([-,.])@ ")  # and for what stands within one
_INSIDE_WORD = "##"

MASKED, RANDOM = 0.8, 0.1  # of the hidden tokens; the others stay as they are (Devlin et al., A.1)


def read_documents(path):
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
        if _TITLE.match(line) or not (has_titles or line.strip()):
            documents.append([])
        elif line.strip() and not (has_titles and _HEADING.match(line)):
            text = _ESCAPED.sub(r"\1", line.strip())
            documents[-1] += _SENTENCE_END.split(text)
    documents = [document for document in documents if document]
    if not documents:
        raise ValueError(f"{path}: a corpus needs sentences. Received: {len(lines)} headings")
    return documents


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
    def arrays(self):
        return (self.sentences.tokens, self.sentences.lengths, self.first_sentences)


def encode_documents(documents, tokenizer):
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


def sentence_pairs(examples, columns, random):
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


def single_texts(examples, columns, random):
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


def choose_hidden(word_ids, keys, share, most):
    """Which tokens are hidden: whole words, in a random order, until the next would be too many.

    Args:
        word_ids: int[B, T], equal for the tokens of a word, less than T; -1 where nothing may be hidden.
        keys: float[B, T] in [0, 1), random; a word's is that of the column its id names.
        share: float, of the tokens that may be hidden.
        most: int, tokens of a row.

    Returns:
        bool[B, T].
    """
    maskable = word_ids >= 0
    wanted = np.maximum(np.round(maskable.sum(axis=1) * share), 1).astype(int)
    budget = np.minimum(np.minimum(wanted, maskable.sum(axis=1)), most)[:, None]
    keys = np.where(maskable, np.take_along_axis(keys, np.maximum(word_ids, 0), axis=1), 2.0)
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, axis=1)
    is_within = np.arange(keys.shape[1]) < budget
    next_key = np.where(is_within, 3.0, ordered).min(axis=1, keepdims=True)  # whose word is cut
    hidden = np.zeros(keys.shape, bool)
    np.put_along_axis(hidden, order, is_within & (ordered < next_key), axis=1)
    return hidden


@dataclasses.dataclass(frozen=True)
class _MaskedRows:
    """A batch to be: rows of Texts, and the number its random numbers come from."""

    indices: np.ndarray
    num_tokens: int
    texts: Texts
    epoch: int
    number: int


class _Masking:
    """The layout of a ``MaskedTextStream``."""

    def __init__(self, examples, batch_size, columns, texts, share, whole_words, seed):
        self.columns = (columns,)
        self.batch_size = batch_size
        self.drop_remainder = True
        self._examples = examples
        self._texts = texts
        self._share = share
        self._most = max(1, round(share * columns))
        self._whole_words = whole_words
        self._seed = seed

    def plan(self, seed, epoch):
        """list of _MaskedRows, the epoch's batches in order."""
        random = self._random(epoch, 0)
        texts = self._texts(self._examples, self.columns[0], random)
        order = random.permutation(len(texts.is_random))
        batches = []
        for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
            chosen = Texts(*(field[order[start : start + self.batch_size]] for field in texts))
            specials = 1 + (chosen.lengths > 0).sum()
            num_tokens = int(chosen.lengths.sum() + specials)
            batches.append(
                _MaskedRows(chosen.documents, num_tokens, chosen, epoch, 1 + len(batches))
            )
        return batches

    def batch(self, rows):
        token_ids, mask, types = self._rows(rows.texts)
        random = self._random(rows.epoch, rows.number)
        examples = self._examples
        word_ids = np.where(
            np.isin(token_ids, examples.ordinary), np.arange(token_ids.shape[1]), -1
        )
        if self._whole_words:
            begins = examples.begins_word[token_ids] | (word_ids < 0)
            first = np.maximum.accumulate(
                np.where(begins, np.arange(token_ids.shape[1]), 0), axis=1
            )
            word_ids = np.where(word_ids < 0, -1, first)
        hidden = choose_hidden(word_ids, random.random(word_ids.shape), self._share, self._most)
        replaced = self._replaced(token_ids, hidden, random)
        columns = np.argsort(~hidden, axis=1, kind="stable")[:, : self._most].astype(np.int32)
        return MaskedTexts(
            token_ids=replaced,
            padding_mask=mask,
            token_type_ids=types,
            hidden_columns=columns,
            hidden_ids=np.take_along_axis(token_ids, columns, axis=1),
            is_hidden=np.take_along_axis(hidden, columns, axis=1),
            is_random=rows.texts.is_random.astype(np.int32),
        )

    def _random(self, epoch, number):
        """Random numbers that follow from the seed, the epoch and the batch's number alone."""
        return np.random.Generator(
            np.random.Philox(
                key=np.array([self._seed, epoch], np.uint64), counter=[0, 0, 0, number]
            )
        )

    def _rows(self, texts):
        """CLS first SEP second SEP: (token_ids int32[B, T], mask bool[B, T], types int32[B, T])."""
        examples, column = self._examples, np.arange(self.columns[0])
        first, second = texts.lengths[:, :1], texts.lengths[:, 1:]
        in_first = (column >= 1) & (column < 1 + first)
        in_second = (column >= 2 + first) & (column < 2 + first + second)
        end = 2 + first + np.where(second > 0, second + 1, 0)
        mask = column < end
        place = np.where(
            in_first, texts.starts[:, :1] + column - 1, texts.starts[:, 1:] + column - 2 - first
        )
        tokens = examples.sentences.tokens[np.where(in_first | in_second, place, 0)]
        token_ids = np.where(in_first | in_second, tokens, examples.sep_id)
        token_ids = np.where(mask, token_ids, examples.pad_id)
        token_ids[:, 0] = examples.cls_id
        types = (mask & (column >= 2 + first)).astype(np.int32)
        return token_ids.astype(np.int32), mask, types

    def _replaced(self, token_ids, hidden, random):
        examples = self._examples
        draw = random.random(token_ids.shape)
        others = random.integers(len(examples.ordinary), size=token_ids.shape)
        others = examples.ordinary[others]
        replacement = np.where(
            draw < MASKED,
            examples.mask_id,
            np.where(draw < MASKED + RANDOM, others, token_ids),
        )
        return np.where(hidden, replacement, token_ids).astype(np.int32)


class MaskedTextStream(BatchStream):
    """An iterator over ``MaskedTexts`` of NumPy arrays, as ``BatchStream`` is one: it can stop, go on
    from a ``state()``, and be a ``tf.data.Dataset``.

    Each epoch draws other texts and hides other tokens (dynamic masking, Liu et al. 2019). Of the hidden
    tokens 80% are replaced by the mask, 10% by a random token, and 10% stay. Special tokens, the unknown
    word among them, are never hidden.

    Args:
        examples: DocumentExamples.
        batch_size: int, rows of a batch.
        length: int, columns.
        texts: ``sentence_pairs`` or ``single_texts``.
        share: float in (0, 1), of a row's tokens to hide.
        whole_words: bool, whether all tokens of a word are hidden together.
        seed: int in [0, 2**64).
        epochs: int, how often to go through the documents; None for ever.

    Raises:
        ValueError: on impossible settings, or too few documents for one batch.
    """

    def __init__(
        self,
        examples,
        batch_size,
        length,
        texts=sentence_pairs,
        share=0.15,
        whole_words=False,
        seed=0,
        epochs=None,
    ):
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1. Received: share={share}")
        if length < 8:
            raise ValueError(f"length must be at least 8. Received: length={length}")
        layout = _Masking(examples, batch_size, length, texts, share, whole_words, seed)
        self._begin(examples, layout, seed, epochs)
