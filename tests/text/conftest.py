"""A tokenizer of every kind that there is."""

from __future__ import annotations

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from tfalign.models.llama2c import Llama2cTokenizer
from tfalign.text import (
    Tokenizer,
    train_byte_bpe,
    train_characters,
    train_word_piece,
    train_words,
)

TEXTS = [
    "Customer: where is my order 4711?\nAgent: I am sorry, it's on Monday.",
    "say: hello.  the other the cat <tool>",
    "顾客：我的订单什么时候到？\n客服：很抱歉。",
] * 3
_LETTERS = "abcdefghijklmnopqrstuvwxyz.,:'!?"
_SPECIAL = ["<unk>", "<s>", "</s>"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_MERGES = [("t", "h"), ("▁", "th"), ("h", "e"), ("▁th", "e"), ("l", "l"), ("o", "."), ("▁", "he")]
_MERGES += [("▁he", "ll"), ("▁hell", "o."), (":", "▁"), ("▁", "▁")]
_PIECES = [*_SPECIAL, *_BYTES, "▁", *_LETTERS, *("".join(pair) for pair in _MERGES)]
_ROLES = {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}


def _core(model, normalizer=None, pre_tokenizer=None, decoder=None, post_processor=None):
    core = tokenizers.Tokenizer(model)
    if normalizer is not None:
        core.normalizer = normalizer
    if pre_tokenizer is not None:
        core.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        core.decoder = decoder
    core.add_special_tokens(_SPECIAL)
    core.add_tokens(["<tool>"])
    if post_processor is None:
        post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    core.post_processor = post_processor
    return Tokenizer(core, _ROLES)


def _pieces_bpe():
    vocab = {piece: at for at, piece in enumerate(dict.fromkeys(_PIECES))}
    return models.BPE(vocab, _MERGES, unk_token="<unk>", byte_fallback=True, fuse_unk=True)


def _unigram(byte_fallback):
    pieces = dict.fromkeys(_PIECES)
    scores = [(piece, -10.0 + len(piece) / 2) for piece in pieces]
    return models.Unigram(scores, 0, byte_fallback)


_REPLACE = normalizers.Replace(" ", "▁")
_BACK = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def _llama2():
    """The spellings of SentencePiece's BPE as Llama 2 and Mistral have them."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), _REPLACE])
    return _core(
        _pieces_bpe(), normalizer, None, decoders.Sequence([*_BACK, decoders.Strip(" ", 1, 0)])
    )


def _metaspace_first():
    pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return _core(
        _pieces_bpe(), None, pre_tokenizer, decoders.Sequence([*_BACK, decoders.Strip(" ", 1, 0)])
    )


def _unigram_bytes():
    pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return _core(
        _unigram(True), None, pre_tokenizer, decoders.Sequence([*_BACK, decoders.Strip(" ", 1, 0)])
    )


def _t5():
    words = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    return _core(_unigram(False), None, pre_tokenizers.Sequence(words), decoders.Metaspace())


def _prefix_space():
    """RoBERTa's and Bart's: byte-level, a space in front."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: at for at, piece in enumerate([*alphabet, "th", "the", "Ġthe", "Ġt"])}
    core = models.BPE(vocab, [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "t")])
    return _core(
        core,
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        decoders.ByteLevel(),
        processors.ByteLevel(trim_offsets=True),
    )


def _end_of_word():
    vocab = {
        piece: at
        for at, piece in enumerate([*_SPECIAL, *_LETTERS, *(c + "</w>" for c in _LETTERS)])
    }
    model = models.BPE(vocab, [], unk_token="<unk>", end_of_word_suffix="</w>")
    return _core(model, None, pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder("</w>"))


def _cleaning_up():
    trained = train_word_piece(TEXTS, 200)
    return Tokenizer(trained.core, trained.special_tokens, clean_up=True)


def _cleaning_up_bytes():
    trained = train_byte_bpe(TEXTS, 300)
    return Tokenizer(trained.core, trained.special_tokens, clean_up=True)


def _llama2c():
    pieces = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)]
    pieces += [
        b" ",
        *(bytes([code]) for code in b"abcdefghijklmnopqrstuvwxyz.:"),
        b" t",
        b"he",
        b" the",
    ]
    return Llama2cTokenizer(pieces, [float(at) for at in range(len(pieces))])


_WORDS = {**_ROLES}
LOSSLESS = {
    "byte BPE": lambda: train_byte_bpe(TEXTS, 320),
    "byte BPE, a space in front": _prefix_space,
    "Llama 2": _llama2,
    "Gemma": lambda: _core(_pieces_bpe(), _REPLACE, None, decoders.Sequence(_BACK)),
    "Llama, Metaspace first": _metaspace_first,
    "Unigram with bytes": _unigram_bytes,
    "llama2.c": _llama2c,
}
LOSSY = {
    "T5": _t5,
    "WordPiece": lambda: train_word_piece(TEXTS, 200),
    "WordPiece, cleaning up": _cleaning_up,
    "byte BPE, cleaning up": _cleaning_up_bytes,
    "end of word": _end_of_word,
    "words": lambda: train_words(TEXTS, None, _WORDS),
    "characters": lambda: train_characters(TEXTS, _WORDS),
}
_MADE = {}


def _made(name):
    if name not in _MADE:
        _MADE[name] = (LOSSLESS | LOSSY)[name]()
    return _MADE[name]


@pytest.fixture(scope="session", params=[*LOSSLESS, *LOSSY])
def any_tokenizer(request):
    """A tokenizer of each kind."""
    return _made(request.param)


@pytest.fixture(scope="session", params=list(LOSSLESS))
def lossless_tokenizer(request):
    """A tokenizer of each kind that loses nothing of a text."""
    return _made(request.param)


@pytest.fixture(scope="session")
def tokenizer_named():
    """Name of a kind to its tokenizer."""
    return _made
