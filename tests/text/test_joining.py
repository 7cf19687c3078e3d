"""Joined texts: the tokens of the whole, the first part's its own."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tfalign.data import (
    CompletionRecord,
    PreferenceRecord,
    PromptRecord,
    encode_completions,
    encode_labelled,
    encode_preferences,
    encode_prompts,
    encode_ranked,
    encode_steps,
)
from tfalign.data.records import LabelledRecord, RankedRecord, StepsRecord
from tfalign.text import encode_joined

PARTS = [
    "say:",
    "say: ",
    "hello.",
    " hello.",
    "the",
    " ",
    "  ",
    "\n",
    "\n\n",
    "t",
    "he",
    "茶",
    "'s",
]
PARTS += ["</s>", "<tool>", ":", "cat"]
texts = st.lists(st.sampled_from(PARTS), max_size=4).map("".join)


def joined(tokenizer, first, second):
    before = tokenizer.encode(first)
    return before, encode_joined(tokenizer, [first], [before], [second])[0]


@given(first=texts, second=texts)
def test_parts_are_the_whole_unless_a_token_straddles_the_cut(any_tokenizer, first, second):
    before, after = joined(any_tokenizer, first, second)
    whole = any_tokenizer.encode(first + second)
    if whole[: len(before)] == before:
        assert before + after == whole
    else:
        assert after == any_tokenizer.encode_following([second])[0]


@given(first=texts, second=texts)
def test_parts_are_decoded_to_the_joined_text(lossless_tokenizer, first, second):
    assume("<tool>" not in first + second)  # the library itself puts a space around an added token
    before, after = joined(lossless_tokenizer, first, second)
    whole = lossless_tokenizer.encode(first + second)
    assert lossless_tokenizer.decode(before + after) == lossless_tokenizer.decode(whole)


@pytest.mark.parametrize(
    ("first", "second", "tokens"),
    [
        ("say:", "hello.", "▁ s a y : he ll o."),
        ("say:", " hello.", "▁ s a y : ▁hello."),
        ("say: ", "hello.", "▁ s a y :▁ he ll o."),  # '▁hello.' would straddle the cut
    ],
)
def test_spaces_are_those_that_were_written(tokenizer_named, first, second, tokens):
    tokenizer = tokenizer_named("Llama 2")
    before, after = joined(tokenizer, first, second)
    spelled = [tokenizer.token(token_id) for token_id in before + after]
    assert " ".join(spelled).replace(": ▁ ", ":▁ ") == tokens.replace(": ▁ ", ":▁ ")
    assert tokenizer.decode(before + after) == first + second


def _row(examples):
    return examples.tokens[0].tolist()


@given(prompt=texts, answer=texts)
def test_every_kind_of_example_joins(lossless_tokenizer, prompt, answer):
    """A policy is asked with the beginning of what it was trained on."""
    tokenizer = lossless_tokenizer
    head, end = list(tokenizer.head_ids), tokenizer.eos_id
    before, after = joined(tokenizer, prompt, answer)
    if before or head:
        asked = _row(encode_prompts([PromptRecord(prompt)], tokenizer))
        assert asked == head + before
        row = _row(encode_completions([CompletionRecord(prompt, answer)], tokenizer))
        assert row == asked + after + [end]
        other = answer + "x"
        pairs = encode_preferences([PreferenceRecord(prompt, answer, other)], tokenizer)
        assert pairs.chosen[0].tolist() == row
        ranked = encode_ranked([RankedRecord(prompt, (answer, other))], tokenizer)
        assert ranked.responses[0].tolist() == after + [end]
        records = [LabelledRecord(prompt, answer, True), LabelledRecord(prompt + "!", "a", False)]
        assert encode_labelled(records, tokenizer).responses[0].tolist() == after + [end]


@pytest.mark.parametrize("kind", ["byte BPE", "Llama 2", "Gemma", "Llama, Metaspace first"])
def test_steps_join(tokenizer_named, kind):
    tokenizer = tokenizer_named(kind)
    record = StepsRecord("say:", ("hello.", "the cat", " the"), (True, True, False))
    examples = encode_steps([record], tokenizer)
    row = _row(examples)
    assert tokenizer.decode(row) == "say:hello.\nthe cat\n the"
    assert row == [
        *tokenizer.head_ids,
        *tokenizer.encode("say:hello.\nthe cat\n the"),
        tokenizer.eos_id,
    ]
    assert [row[at] for at in examples.step_ends[0]][-1] == tokenizer.eos_id


_awkward = st.text("ab 'ſs1.\n\t\u00a0\u3000\x1c茶", max_size=12)


@given(first=_awkward, second=_awkward)
def test_only_the_last_word_has_a_say_where_words_begin_at_spaces(tokenizer_named, first, second):
    tokenizer = tokenizer_named("byte BPE")
    assert tokenizer.begins_anew_at_spaces
    assert not tokenizer_named("Llama 2").begins_anew_at_spaces
    before, after = joined(tokenizer, first, second)
    whole = tokenizer.encode(first + second)
    begins = whole[: len(before)] == before
    assert after == (whole[len(before) :] if begins else tokenizer.encode(second))
