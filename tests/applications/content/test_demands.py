"""Demands of briefs as a constraint: what it lets pass is what the phrases say, prompt by prompt."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfalign.applications.content import Brief, DemandedSlots
from tfalign.decoding.constraints import states_before
from tfalign.text import train_byte_bpe
from tfalign.types import Prompts

PHRASES = {"x": {"one": ["ab", "c"], "two": ["ba"]}, "y": {"yes": ["cc"]}}
BRIEFS = [
    Brief((("x", "one"), ("y", "yes"))),
    Brief((("x", "two"),)),
    Brief((("z", "other"),)),
    Brief((("y", "yes"), ("x", "two"))),
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_byte_bpe([], 259)


def demands(tokenizer, **more):
    return DemandedSlots(PHRASES, tokenizer, tokenizer.vocab_size, **more)


def prompts_of(tokenizer, briefs):
    rows = [tokenizer.encode(brief.prompt) for brief in briefs]
    columns = max(map(len, rows))
    ids = np.array([[tokenizer.pad_id] * (columns - len(row)) + row for row in rows], "int32")
    return Prompts(
        ids, np.array([[False] * (columns - len(row)) + [True] * len(row) for row in rows])
    )


def told(brief, text):
    """By substring: whether every slot that is asked for stands in the text."""
    return all(
        any(phrase in text for phrase in PHRASES[slot][value])
        for slot, value in brief.slots
        if slot in PHRASES
    )


def test_a_text_may_end_when_all_has_been_said(tokenizer):
    """All texts of up to four letters for every brief."""
    constraint = demands(tokenizer)
    texts = ["".join(letters) for n in range(5) for letters in itertools.product("abc", repeat=n)]
    pairs = list(itertools.product(BRIEFS, texts))
    prompts = prompts_of(tokenizer, [brief for brief, _ in pairs])
    tokens = np.full((len(pairs), 5), tokenizer.eos_id, "int32")
    for row, (_, text) in enumerate(pairs):
        tokens[row, : len(text)] = tokenizer.encode(text)
    states = np.asarray(states_before(constraint, prompts, tokens))
    lengths = [len(text) for _, text in pairs]
    allowed = np.asarray(constraint.allowed(states[np.arange(len(pairs)), lengths]))
    may_end = allowed[:, tokenizer.eos_id].tolist()
    assert may_end == [told(brief, text) for brief, text in pairs]
    others = np.delete(allowed, tokenizer.eos_id, axis=1)
    assert others.all()


def test_a_banned_phrase_never_comes(tokenizer):
    constraint = demands(tokenizer, banned=["aca"])
    prompts = prompts_of(tokenizer, BRIEFS[2:3] * 2)
    tokens = np.array([tokenizer.encode("bac"), tokenizer.encode("aab")], "int32")
    after = constraint.follow(states_before(constraint, prompts, tokens)[:, -1], tokens[:, -1])
    allowed = np.asarray(constraint.allowed(after))
    (letter,) = tokenizer.encode("a")
    assert not allowed[0, letter] and allowed[1].all()
    assert allowed[0].sum() == tokenizer.vocab_size - 1


def test_mistakes_are_told(tokenizer):
    with pytest.raises(ValueError, match="Every value has a phrase. Received: {'one': \\[\\]}"):
        DemandedSlots({"x": {"one": []}}, tokenizer, tokenizer.vocab_size)
    many = {f"s{i}": {str(j): [f"{i} {j}"] for j in range(9)} for i in range(10)}
    with pytest.raises(ValueError, match="fewer than 2\\^31 states"):
        DemandedSlots(many, tokenizer, tokenizer.vocab_size)
