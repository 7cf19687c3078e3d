"""Token rows: what they begin and end with, what is a target, what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tfalign.data import (
    BadRecordError,
    CompletionRecord,
    PreferenceRecord,
    PromptRecord,
    TextRecord,
    encode_completions,
    encode_preferences,
    encode_prompts,
    encode_texts,
)
from tfalign.data.examples import Ragged
from tfalign.text import train_byte_bpe, train_word_piece

# With no text to learn from, every byte is a token of its own: lengths can be counted by hand.
BYTES = train_byte_bpe([], 259)
PAD, BOS, EOS = BYTES.pad_id, BYTES.bos_id, BYTES.eos_id
ids = BYTES.encode


def rows(ragged):
    return [ragged[index].tolist() for index in range(len(ragged))]


def test_ragged_pads_either_side():
    ragged = Ragged([[5, 6, 7], [], [8]])
    assert rows(ragged) == [[5, 6, 7], [], [8]]
    right, right_mask = ragged.padded(np.array([2, 0]), 4, pad_id=9)
    assert right.tolist() == [[8, 9, 9, 9], [5, 6, 7, 9]]
    assert right_mask.tolist() == [[True, False, False, False], [True, True, True, False]]
    left, left_mask = ragged.padded(np.array([0, 1, 2]), 3, pad_id=9, left=True)
    assert left.tolist() == [[5, 6, 7], [9, 9, 9], [9, 9, 8]]
    assert left_mask.sum(axis=1).tolist() == [3, 0, 1]
    assert (left.dtype, left_mask.dtype) == (np.int32, bool)
    with pytest.raises(ValueError, match="3 tokens does not fit. Received: columns=2"):
        ragged.padded(np.array([0]), 2, pad_id=9)


def test_texts_begin_with_bos_and_end_with_eos():
    examples = encode_texts([TextRecord("ab"), TextRecord("好")], BYTES)
    assert rows(examples.tokens) == [[BOS, *ids("ab"), EOS], [BOS, *ids("好"), EOS]]
    batch = examples.batch(np.array([0, 1]), 6)
    assert batch.padding_mask.tolist() == [[True] * 4 + [False] * 2, [True] * 5 + [False]]
    assert batch.loss_mask.tolist() == [
        [False, True, True, True, False, False],
        [False, True, True, True, True, False],
    ]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]]
    assert batch.token_ids[0, 4:].tolist() == [PAD, PAD]


def test_only_the_completion_is_a_target():
    examples = encode_completions([CompletionRecord("hi:", " you")], BYTES)
    batch = examples.batch(np.array([0]), 10)
    assert batch.token_ids[0].tolist() == [BOS, *ids("hi:"), *ids(" you"), EOS, PAD]
    targets = batch.token_ids[batch.loss_mask].tolist()
    assert targets == [*ids(" you"), EOS]


def test_the_boundary_is_between_tokens():
    merging = train_byte_bpe(["Agent: yes"] * 4, 300)
    prompt, answer = "Agent", ": yes"
    assert len(merging.encode(prompt + answer)) < 4
    examples = encode_completions([CompletionRecord(prompt, answer)], merging)
    prompts = encode_prompts([PromptRecord(prompt)], merging)
    first_target = int(np.argmax(examples.is_target))
    assert examples.tokens[0][:first_target].tolist() == prompts.tokens[0].tolist()
    assert merging.decode(examples.tokens[0][first_target:]) == answer


def test_prompts_are_left_padded_and_open_ended():
    examples = encode_prompts([PromptRecord("abc"), PromptRecord("d")], BYTES)
    batch = examples.batch(np.array([1, 0]), 5)
    assert batch.token_ids.tolist() == [
        [PAD, PAD, PAD, BOS, *ids("d")],
        [PAD, BOS, *ids("abc")],
    ]
    assert batch.mask.tolist() == [[False] * 3 + [True] * 2, [False] + [True] * 4]


def test_preferences_are_two_rows_each():
    record = PreferenceRecord("p:", "good", "no", margin=1.5)
    examples = encode_preferences([record], BYTES)
    assert examples.lengths.tolist() == [8]
    assert examples.token_counts.tolist() == [14]
    batch = examples.batch(np.array([0]), 8)
    assert batch.chosen_ids[0].tolist() == [BOS, *ids("p:"), *ids("good"), EOS]
    assert batch.rejected_ids[0].tolist() == [BOS, *ids("p:"), *ids("no"), EOS, PAD, PAD]
    assert batch.rejected_mask[0].tolist() == [True] * 6 + [False] * 2
    assert batch.margin.tolist() == [1.5] and batch.margin.dtype == np.float32


def test_word_piece_examples_stand_between_cls_and_sep():
    bert = train_word_piece(["hello there"], 100)
    examples = encode_texts([TextRecord("Hello")], bert)
    assert examples.tokens[0][0] == bert.cls_id and examples.tokens[0][-1] == bert.sep_id


def test_tokenizer_without_bos_needs_no_bos_but_an_end():
    tokenizer = train_byte_bpe([], 257, {"eos": "<|eos|>"})
    examples = encode_completions([CompletionRecord("a", "b")], tokenizer)
    assert examples.tokens[0].tolist() == [*tokenizer.encode("ab"), tokenizer.eos_id]
    with pytest.raises(ValueError, match="needs an eos .* Received roles: bos"):
        encode_texts([TextRecord("a")], train_byte_bpe([], 257, {"bos": "<|bos|>"}))


LONG = {
    "text": (
        lambda **choice: encode_texts(
            [TextRecord("abc", "f:1"), TextRecord("abcd", "f:2")], BYTES, max_tokens=5, **choice
        ),
        "f:2: the document has 6 tokens, more than 5",
    ),
    "completion": (
        lambda **choice: encode_completions(
            [CompletionRecord("a", "bc", "f:1"), CompletionRecord("a", "bcd", "f:2")],
            BYTES,
            max_tokens=5,
            **choice,
        ),
        "f:2: the prompt with its completion has 6 tokens, more than 5",
    ),
    "prompt of a completion": (
        lambda **choice: encode_completions(
            [CompletionRecord("a", "bc", "f:1"), CompletionRecord("ab", "c", "f:2")],
            BYTES,
            max_prompt_tokens=2,
            **choice,
        ),
        "f:2: the prompt has 3 tokens, more than 2",
    ),
    "rejected": (
        lambda **choice: encode_preferences(
            [PreferenceRecord("a", "bc", "b"), PreferenceRecord("a", "b", "bcd", 0.0, "f:2")],
            BYTES,
            max_tokens=5,
            **choice,
        ),
        "f:2: the prompt with its rejected answer has 6 tokens, more than 5",
    ),
    "prompt": (
        lambda **choice: encode_prompts(
            [PromptRecord("a"), PromptRecord("ab")], BYTES, max_prompt_tokens=2, **choice
        ),
        "record 1: the prompt has 3 tokens, more than 2",
    ),
}


@pytest.mark.parametrize(("encode", "message"), LONG.values(), ids=LONG)
def test_what_is_too_long_stops_or_is_counted(encode, message):
    with pytest.raises(BadRecordError) as caught:
        encode()
    assert str(caught.value) == message
    examples = encode(on_bad="skip")
    assert len(examples) == len(examples.records) == 1
    assert examples.summary() == f"1 read, 1 skipped ({message})"


def test_answers_that_only_their_letters_told_apart():
    bert = train_word_piece(["yes no ok", "ok"], 100)
    pairs = [PreferenceRecord("ok", "Yes", "yes", 0.0, "f:1"), PreferenceRecord("ok", "yes", "no")]
    with pytest.raises(BadRecordError, match="f:1: chosen and rejected have the same tokens"):
        encode_preferences(pairs, bert)
    assert len(encode_preferences(pairs, bert, on_bad="skip")) == 1


def test_nothing_left():
    with pytest.raises(ValueError, match="No record is left .* 0 read, 1 skipped"):
        encode_prompts([PromptRecord("abc")], BYTES, max_prompt_tokens=2, on_bad="skip")
