"""Texts that stand one behind the other, each with tokens of its own.

The first keeps the tokens it has alone, which are those a model is asked with; what follows has those
that the joined text has for it. So the tokens of both are the joined text's, except where a token of
the joined text would straddle the cut (or the joined text is cut otherwise before it): there the second
text is tokenised as text that follows, with nothing put in front of it. A tokenizer that loses nothing
decodes the tokens of both to the joined text in every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def encode_joined(
    tokenizer: Any,
    firsts: Sequence[str],
    first_ids: Sequence[Sequence[int]],
    seconds: Sequence[str],
) -> list[list[int]]:
    """Ids of texts that follow others.

    Args:
        tokenizer: any tokenizer of the library.
        firsts: what stands before.
        first_ids: its ids, as ``encode_batch`` has them.
        seconds: what follows each of them.

    Returns:
        the ids of each of ``seconds``.

    >>> from tfalign.text import train_byte_bpe
    >>> tokenizer = train_byte_bpe(["ab ab"], vocab_size=260)
    >>> a = tokenizer.encode("a")
    >>> tokenizer.decode(a + encode_joined(tokenizer, ["a"], [a], ["b ab"])[0])
    'ab ab'
    """
    if getattr(tokenizer, "begins_anew_at_spaces", False):  # what stands before has no say
        firsts = [first[_last_word(first) :] for first in firsts]
        first_ids = tokenizer.encode_batch(firsts)
    joined = tokenizer.encode_batch(
        [first + second for first, second in zip(firsts, seconds, strict=True)]
    )
    rows, straddling = [], []
    for at, (before, row) in enumerate(zip(first_ids, joined, strict=True)):
        before = list(before)
        if row[: len(before)] != before:
            straddling.append(at)
        rows.append(row[len(before) :])
    if straddling:
        alone = tokenizer.encode_following([seconds[at] for at in straddling])
        for at, ids in zip(straddling, alone):
            rows[at] = ids
    return rows


def _last_word(text):
    """Where the last space stands that has no other white space before it; 0 where there is none."""
    at = text.rfind(" ")
    while at > 0 and text[at - 1].isspace():
        at = text.rfind(" ", 0, at)
    return max(at, 0)
