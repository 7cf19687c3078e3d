"""A byte-level BPE tokenizer in TensorFlow's own operations, for graphs that are served without Python.

It is the tokenizers library's ByteLevel BPE (GPT-2's, Radford et al. 2019), rebuilt from its
tokenizer.json. A text is cut into words by GPT-2's pattern, and in each word the pair that was learned
first is merged, the leftmost one, until none is left.
"""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf

from tfalign.text import Tokenizer
from tfalign.text.token_bytes import byte_characters, token_bytes

_CUT = "\ufdd0"  # between words, a noncharacter of Unicode; texts lose it
# GPT-2's pattern without its look-ahead, which RE2 does not have: of white space before a word the last
# character is cut off first.
_SPACES = r"\s\v\x{85}\p{Z}"  # RE2's own \s is ASCII's
_LAST_SPACE = rf"([{_SPACES}])([^{_SPACES}\x{{FDD0}}])"
_WORD = (
    rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+"
    rf"| ?[^{_SPACES}\p{{L}}\p{{N}}\x{{FDD0}}]+|[{_SPACES}]+"
)
_NO_RANK = np.iinfo(np.int32).max


class ByteBPE(tf.Module):
    """Texts to ids and back.

    Args:
        tokenizer: ``tfalign.text.Tokenizer`` of that kind.

    Raises:
        ValueError: if the tokenizer is of another kind.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        entries = json.loads(tokenizer.to_json())
        _check(entries)
        vocab, merges = entries["model"]["vocab"], entries["model"]["merges"]
        characters = byte_characters()
        self._size = tokenizer.vocab_size
        self._of_byte = tf.constant([vocab[character] for character in characters], tf.int32)
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]
        keys = [vocab[left] * self._size + vocab[right] for left, right in pairs]
        merged = [vocab[left + right] for left, right in pairs]
        self._ranks = _table(keys, range(len(pairs)), _NO_RANK)
        self._merged = _table(range(len(pairs)), merged, 0)
        self._bytes = tf.constant(token_bytes(tokenizer))

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """string[B] to RaggedTensor int32[B, (tokens)]."""
        texts = tf.strings.regex_replace(texts, _CUT, "")
        cut = tf.strings.regex_replace(texts, _LAST_SPACE, _CUT + r"\1\2")
        cut = tf.strings.regex_replace(cut, f"({_WORD})", r"\1" + _CUT)
        words = tf.strings.split(cut, _CUT)
        words = tf.ragged.boolean_mask(words, tf.strings.length(words) > 0)
        ids = self._merge(words.flat_values)
        return words.with_flat_values(ids).merge_dims(1, 2)

    def decode(self, ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """int32[B, R] and bool[B, R] to string[B], special tokens left out."""
        pieces = tf.where(mask, tf.gather(self._bytes, ids), "")
        return tf.strings.reduce_join(pieces, axis=-1)

    def _merge(self, words):
        """string[N] to RaggedTensor int32[N, (tokens)]."""
        values = tf.io.decode_raw(
            words,
            tf.uint8,
            fixed_length=tf.reduce_max(tf.concat([[1], tf.strings.length(words)], 0)),
        )
        ids = tf.gather(self._of_byte, tf.cast(values, tf.int32))
        lengths = tf.strings.length(words)

        def best(ids, lengths):
            """Rank of the best pair of every word, and where it stands: int32[N] each."""
            keys = tf.cast(ids[:, :-1], tf.int64) * self._size + tf.cast(ids[:, 1:], tf.int64)
            ranks = self._ranks.lookup(keys)
            columns = tf.range(tf.shape(ids)[1] - 1)
            ranks = tf.where(columns[None, :] < lengths[:, None] - 1, ranks, _NO_RANK)
            ranks = tf.concat([ranks, tf.fill([tf.shape(ids)[0], 1], _NO_RANK)], axis=1)
            return tf.reduce_min(ranks, axis=1), tf.argmin(ranks, axis=1, output_type=tf.int32)

        def some_pair(ids, lengths):
            return tf.reduce_any(best(ids, lengths)[0] < _NO_RANK)

        def merge_one(ids, lengths):
            rank, place = best(ids, lengths)
            found = rank < _NO_RANK
            new = self._merged.lookup(tf.cast(rank, tf.int64))
            columns = tf.range(tf.shape(ids)[1])[None, :]
            behind = found[:, None] & (columns > place[:, None])
            shifted = tf.concat([ids[:, 1:], ids[:, -1:]], axis=1)
            at = found[:, None] & (columns == place[:, None])
            ids = tf.where(at, new[:, None], tf.where(behind, shifted, ids))
            return ids, lengths - tf.cast(found, tf.int32)

        ids, lengths = tf.while_loop(some_pair, merge_one, (ids, lengths))
        return tf.RaggedTensor.from_tensor(ids, lengths)


def _check(entries):
    before, kind = entries.get("pre_tokenizer") or {}, entries["model"]["type"]
    plain = before.get("type") == "ByteLevel" and not before.get("add_prefix_space", True)
    if kind != "BPE" or not plain or entries.get("normalizer") or not before.get("use_regex", True):
        raise ValueError(
            "Only a byte-level BPE without a normalizer can be put into a graph. Received: "
            f"{kind} behind {before.get('type')}"
        )


def _table(keys, values, default):
    # a table must have an entry
    pairs = tf.lookup.KeyValueTensorInitializer(
        tf.constant([-1, *keys], tf.int64), tf.constant([default, *values], tf.int32)
    )
    return tf.lookup.StaticHashTable(pairs, default)
