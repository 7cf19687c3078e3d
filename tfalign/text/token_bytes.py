"""The bytes that each token of a vocabulary stands for, where tokens are pieces of text."""

from __future__ import annotations

import functools
import re
from typing import Any

from tfalign.text.cores import entries_of

_SPACE = "\u2581"  # of SentencePiece
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_bytes(tokenizer: Any) -> list[bytes]:
    """What each id adds to a text that goes on, by id.

    Args:
        tokenizer: Tokenizer whose tokens are pieces of bytes (GPT-2, Llama 3) or of text with bytes to fall
            back on (Llama 2).

    Returns:
        list of vocab_size bytes; empty for a special token, or an id without a token.

    Raises:
        ValueError: if tokens are not pieces of text, as WordPiece's are not: between them are spaces that
            nobody wrote.

    >>> from tfalign.text import train_byte_bpe
    >>> token_bytes(train_byte_bpe([], 259))[97 - 33 + 3]
    b'a'
    """
    decoder = entries_of(tokenizer.core.decoder)
    parts = [part.get("type") for part in decoder.get("decoders", [decoder])]
    if "ByteLevel" in parts:
        spell = _of_byte_characters
    elif "ByteFallback" in parts:
        spell = _of_pieces
    else:
        raise ValueError(
            "The bytes of tokens are known of a byte-level BPE, or of one with byte fallback. Received: a "
            f"tokenizer whose decoder is {', '.join(map(str, parts))}"
        )
    added = tokenizer.core.get_added_tokens_decoder()
    return [_spelled(tokenizer, added, spell, token_id) for token_id in range(tokenizer.vocab_size)]


def text_pieces(tokenizer: Any) -> list[bytes]:
    """As ``token_bytes``, and empty for the tokens that end a response, however they are spelled.

    Raises:
        ValueError: as ``token_bytes``, or if no token ends a response.
    """
    if not tokenizer.stop_ids:
        raise ValueError(
            "A constraint says where a response may end, and this tokenizer has no stop token"
        )
    pieces = token_bytes(tokenizer)
    for stop in tokenizer.stop_ids:
        pieces[stop] = b""
    return pieces


@functools.cache
def byte_characters() -> list[str]:
    """The printable character that stands for each of the 256 bytes in a byte-level vocabulary (Radford et
    al. 2019, bytes_to_unicode in GPT-2's encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _spelled(tokenizer, added, spell, token_id):
    token = tokenizer.token(token_id)
    if token is None or tokenizer.is_special(token_id):
        return b""
    return token.encode("utf-8") if token_id in added else spell(token)


def _of_byte_characters(token):
    return bytes(map(_byte_of().__getitem__, token))


@functools.cache
def _byte_of():
    return {character: byte for byte, character in enumerate(byte_characters())}


def _of_pieces(token):
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode("utf-8")
