"""Tokenizers learned from texts, and published vocabularies.

Byte-level BPE (Radford et al. 2019, section 2.2) loses nothing: ``decode(encode(text)) == text`` for
every Unicode string. WordPiece (Devlin et al. 2019) is BERT's, and loses case and spacing. What is
learned here puts its BOS, or CLS and SEP, around a text, and its tokenizer.json says so.
"""

from __future__ import annotations

import collections
import os
import re
import types
from collections.abc import Iterable, Mapping

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tfalign.files import ASCII_SPACE
from tfalign.text import cores
from tfalign.text.tokenizers import Tokenizer

BYTE_BPE_SPECIAL_TOKENS = types.MappingProxyType(
    {"pad": "<|pad|>", "bos": "<|bos|>", "eos": "<|eos|>"}
)
WORD_PIECE_SPECIAL_TOKENS = types.MappingProxyType(
    {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
)
WORD_SPECIAL_TOKENS = types.MappingProxyType({"eos": "<eos>", "unk": "<unk>"})

# Han characters and full-width punctuation stand without spaces between them.
_SPACE_BEFORE_HAN = tokenizers.Regex(r"^ (?=[\p{Han}\x{3000}-\x{303f}\x{ff00}-\x{ffef}])")
_INSIDE_WORD = "##"  # begins a WordPiece token that does not begin a word
_SPACES = re.compile(f"[{ASCII_SPACE}]+")


def train_byte_bpe(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Mapping[str, str] = BYTE_BPE_SPECIAL_TOKENS,
) -> Tokenizer:
    """Learns a byte-level BPE, GPT-2's kind. The same texts give the same tokenizer.

    Args:
        texts: iterable of str.
        vocab_size: int, at least 256 and the special tokens; little text may not fill it.
        special_tokens: mapping of role to spelling; they get the ids 0, 1, ... in its order.

    Returns:
        Tokenizer.
    """
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(
            f"A byte-level vocabulary holds 256 bytes and {len(special_tokens)} special tokens, so "
            f"vocab_size must be at least {smallest}. Received: vocab_size={vocab_size}"
        )
    _check_vocab_size(vocab_size)
    core = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # a pair seen once is no pattern
        special_tokens=_distinct(special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return _with_ends(core, special_tokens)


def train_word_piece(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Mapping[str, str] = WORD_PIECE_SPECIAL_TOKENS,
    lower_case: bool = True,
) -> Tokenizer:
    """Learns a WordPiece vocabulary, BERT's kind. The same texts give the same tokenizer.

    Args:
        texts: iterable of str.
        vocab_size: int; little text may not fill it, and many characters may exceed it.
        special_tokens: mapping of role to spelling, "unk" among them; ids 0, 1, ... in its order.
        lower_case: bool, lower-case the text and strip its accents first.

    Returns:
        Tokenizer.
    """
    texts = list(texts)
    _check_vocab_size(vocab_size)
    unk = _required_unk(special_tokens)
    core = _word_piece(unk, lower_case)
    # The library numbers the characters inside words in the order of a randomised hash, and breaks
    # ties by these numbers. Listed in order as special tokens, they get theirs from us; the vocabulary
    # alone is kept, and there they are ordinary.
    inner = sorted({_INSIDE_WORD + character for character in _inner_characters(core, texts)})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=_distinct(special_tokens) + inner,
        continuing_subword_prefix=_INSIDE_WORD,
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    vocab = core.get_vocab(with_added_tokens=False)
    return _with_ends(_word_piece(unk, lower_case, vocab), special_tokens)


def train_words(
    texts: Iterable[str],
    vocab_size: int | None = None,
    special_tokens: Mapping[str, str] = WORD_SPECIAL_TOKENS,
) -> Tokenizer:
    """The words of texts that come tokenised, separated by ASCII white space, the most frequent first; a
    no-break space is part of a word.

    Args:
        texts: iterable of str.
        vocab_size: int, special tokens included; None for all words.
        special_tokens: mapping of role to spelling, "unk" among them; ids 0, 1, ... in its order.

    Returns:
        Tokenizer.
    """
    if vocab_size is not None:
        _check_vocab_size(vocab_size)
    counts = collections.Counter(word for text in texts for word in _SPACES.split(text) if word)
    core = _word_level(counts, vocab_size, special_tokens)
    core.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(_SPACES.pattern), "removed")
    return _with_ends(core, special_tokens)


def train_characters(
    texts: Iterable[str], special_tokens: Mapping[str, str] = WORD_SPECIAL_TOKENS
) -> Tokenizer:
    """The characters of texts, the most frequent first; arguments as for ``train_words``."""
    counts = collections.Counter()
    for text in texts:
        counts.update(text)
    core = _word_level(counts, None, special_tokens)
    core.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return _with_ends(core, special_tokens)


def read_byte_bpe(
    vocab_file: str | os.PathLike, merges_file: str | os.PathLike, special_tokens: Mapping[str, str]
) -> Tokenizer:
    """A published byte-level BPE: ``encoder.json`` and ``vocab.bpe`` in GPT-2's format. As GPT-2's, it
    puts no BOS in front of a text."""
    core = _byte_level(models.BPE.from_file(str(vocab_file), str(merges_file)))
    return Tokenizer(core, special_tokens)


def read_word_piece(
    vocab_file: str | os.PathLike,
    special_tokens: Mapping[str, str] = WORD_PIECE_SPECIAL_TOKENS,
    lower_case: bool = True,
) -> Tokenizer:
    """A published WordPiece vocabulary: ``vocab.txt`` in BERT's format, one token a line."""
    vocab = models.WordPiece.read_file(str(vocab_file))
    return _with_ends(_word_piece(_required_unk(special_tokens), lower_case, vocab), special_tokens)


def _byte_level(model):
    core = tokenizers.Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return core


def _word_piece(unk, lower_case, vocab=None):
    model = models.WordPiece(vocab or {}, unk_token=unk, max_input_chars_per_word=100)
    core = tokenizers.Tokenizer(model)
    core.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix=_INSIDE_WORD, cleanup=True),
            decoders.Replace(_SPACE_BEFORE_HAN, ""),
        ]
    )
    return core


def _word_level(counts, vocab_size, special_tokens):
    unk = _required_unk(special_tokens)
    special = _distinct(special_tokens)
    words = sorted(counts.keys() - set(special), key=lambda word: (-counts[word], word))
    vocab = {token: index for index, token in enumerate([*special, *words][:vocab_size])}
    return tokenizers.Tokenizer(models.WordLevel(vocab, unk_token=unk))


def _inner_characters(core, texts):
    """set of str, characters that some word has after its first."""
    inner = set()
    for text in texts:
        for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(text)):
            inner.update(word[1:])
    return inner


def _required_unk(special_tokens):
    if "unk" not in special_tokens:
        raise ValueError(
            "An unk token is needed for words outside the vocabulary. "
            f"Received roles: {', '.join(special_tokens) or 'none'}"
        )
    return special_tokens["unk"]


def _distinct(special_tokens):
    spellings = list(special_tokens.values())
    if len(set(spellings)) < len(spellings):
        raise ValueError(
            "Each special token needs a spelling of its own; a pad that is also eos hides where a "
            f"text ends. Received: {dict(special_tokens)}"
        )
    return spellings


def _check_vocab_size(vocab_size):
    if not 0 < vocab_size <= cores.MOST_TOKENS:
        raise ValueError(
            f"A vocabulary has 1 to {cores.MOST_TOKENS} tokens. Received: vocab_size={vocab_size}"
        )


def _with_ends(core, special_tokens):
    """A Tokenizer that puts its BOS in front of a text, or, having none, CLS and SEP around it."""
    ends = {role: special_tokens[role] for role in ("bos", "cls", "sep") if role in special_tokens}
    core.add_special_tokens(list(special_tokens.values()))
    if "bos" in ends:
        core = cores.with_head(core, (ends["bos"],))
    elif "cls" in ends and "sep" in ends:
        core = cores.with_head(core, (ends["cls"],), (ends["sep"],))
    return Tokenizer(core, special_tokens)
