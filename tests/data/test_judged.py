"""Judged answers: their rows, what is said about those that are no good, and their batches."""

import json

import numpy as np
import pytest

from tfalign.data import (
    BadRecordError,
    BatchStream,
    LabelledRecord,
    PreferenceRecord,
    RankedRecord,
    StepsRecord,
    count_tokens,
    encode_labelled,
    encode_ranked,
    encode_steps,
    read_records,
    split_by_prompt,
    unpaired,
)
from tfalign.text import train_byte_bpe

BYTES = train_byte_bpe([], 259)  # every byte is a token of its own
PAD, BOS, EOS = BYTES.pad_id, BYTES.bos_id, BYTES.eos_id
ids = BYTES.encode


def row(prompt, answer, columns, response_columns):
    """(ids, padding mask, response mask) by hand."""
    head, tail = [BOS, *ids(prompt)], [*ids(answer), EOS]
    left, right = columns - len(head), response_columns - len(tail)
    return (
        [PAD] * left + head + tail + [PAD] * right,
        [False] * left + [True] * (len(head) + len(tail)) + [False] * right,
        [True] * len(tail) + [False] * right,
    )


def test_pairs_are_laid_out_as_rollouts():
    records = [PreferenceRecord("ab", "yes", "n"), PreferenceRecord("c", "ok", "never")]
    batch = encode_ranked(records, BYTES).batch(np.array([1, 0]), 4)
    expected = [
        [row("c", "ok", 4, 6), row("c", "never", 4, 6)],
        [row("ab", "yes", 4, 6), row("ab", "n", 4, 6)],
    ]
    for field, values in zip(batch[:3], range(3)):
        assert field.tolist() == [[one[values] for one in pair] for pair in expected]
    assert batch.ref_log_probs.tolist() == [[0, 0], [0, 0]]
    assert (batch.token_ids.dtype, batch.response_mask.dtype) == (np.int32, bool)


def test_rankings_of_different_lengths_have_empty_rows():
    records = [RankedRecord("a", ("x", "y", "z")), RankedRecord("b", ("u", "v"))]
    examples = encode_ranked(records, BYTES)
    batch = examples.batch(np.array([0, 1]), 2)
    assert batch.token_ids.shape == (2, 3, 4)
    assert batch.response_mask[1].any(axis=-1).tolist() == [True, True, False]
    assert batch.padding_mask[1, 2].tolist() == [True, True, False, False]  # its prompt is there
    assert examples.token_counts.tolist() == [12, 10]


def test_labels_bring_a_response_to_another_prompt():
    records = unpaired([PreferenceRecord(f"{i}", "yes", "never") for i in range(20)])
    records += [LabelledRecord("0", "maybe", True)]
    examples = encode_labelled(records, BYTES)
    batch = examples.batch(np.arange(len(records)), 3)
    answers = {
        record.completion: {r.prompt for r in records if r.completion == record.completion}
        for record in records
    }
    seen = []
    for record, pair in zip(records, batch.token_ids.tolist()):
        assert pair[0] == row(record.prompt, record.completion, 3, 6)[0]
        (other,) = [a for a in answers if pair[1] == row(record.prompt, a, 3, 6)[0]]
        assert answers[other] - {record.prompt}  # somebody else's
        seen.append(other)
    assert {"yes", "never"} <= set(seen)  # liked and disliked ones
    assert batch.desirable.tolist() == [record.label for record in records]
    with pytest.raises(ValueError, match="all prompts are equal. Received: 2 records"):
        encode_labelled([records[0], records[1]], BYTES)


def test_steps_end_with_the_separator_and_the_last_with_eos():
    record = StepsRecord("q", ("ab", "c"), (True, False))
    batch = encode_steps([record], BYTES).batch(np.array([0]), 8)
    newline = ids("\n")
    assert batch.token_ids[0].tolist() == [
        BOS,
        *ids("q"),
        *ids("ab"),
        *newline,
        *ids("c"),
        EOS,
        PAD,
    ]
    assert np.flatnonzero(batch.step_ends[0]).tolist() == [4, 6]
    assert np.flatnonzero(batch.labels[0]).tolist() == [4]
    with pytest.raises(ValueError, match="must be one token. Received: '##', which is"):
        encode_steps([record], BYTES, separator="##")


BAD = {
    "prompt": (
        lambda **choice: encode_ranked(
            [PreferenceRecord("a", "b", "c"), PreferenceRecord("ab", "b", "c", source="f:2")],
            BYTES,
            max_prompt_tokens=2,
            **choice,
        ),
        "f:2: the prompt has 3 tokens, more than 2",
    ),
    "answer": (
        lambda **choice: encode_ranked(
            [PreferenceRecord("a", "b", "c"), RankedRecord("a", ("b", "cd"), "f:2")],
            BYTES,
            max_new_tokens=2,
            **choice,
        ),
        "f:2: the longest answer has 3 tokens, more than 2",
    ),
    "labelled": (
        lambda **choice: encode_labelled(
            [
                LabelledRecord("a", "b", True),
                LabelledRecord("b", "cd", False, "f:2"),
                LabelledRecord("c", "b", True),
            ],
            BYTES,
            max_new_tokens=2,
            **choice,
        ),
        "f:2: the answer has 3 tokens, more than 2",
    ),
    "separator": (
        lambda **choice: encode_steps(
            [StepsRecord("a", ("b",), (True,)), StepsRecord("a", ("b\nc",), (True,), "f:2")],
            BYTES,
            **choice,
        ),
        "f:2: a step holds the separator",
    ),
}


@pytest.mark.parametrize(("encode", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_stops_or_is_counted(encode, message):
    with pytest.raises(BadRecordError) as caught:
        encode()
    assert str(caught.value) == message
    examples = encode(on_bad="skip")
    assert f"1 skipped ({message})" in examples.summary()


def write_lines(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(path)


LABELLED = {"prompt": "p", "completion": "c", "label": True}
RANKED = {"prompt": "p", "completions": ["a", "b", "c"]}
STEPS = {"prompt": "p", "steps": ["a", "b"], "labels": [True, 0]}
BAD_LINES = {
    "no label": (LabelledRecord, LABELLED, {"label": None}, "'label' must be true or false"),
    "number": (LabelledRecord, LABELLED, {"label": 2}, "true or false. Received: 2 (int)"),
    "word": (LabelledRecord, LABELLED, {"label": "yes"}, "true or false. Received: 'yes' (str)"),
    "one": (RankedRecord, RANKED, {"completions": ["a"]}, "needs two completions. Received: 1"),
    "text": (RankedRecord, RANKED, {"completions": "abc"}, "must be a list. Received: 'abc' (str)"),
    "equal": (RankedRecord, RANKED, {"completions": ["a", "b", "a"]}, "two completions are equal"),
    "member": (
        RankedRecord,
        RANKED,
        {"completions": ["a", 3]},
        "the field 'completions[1]' must be text. Received: 3 (int)",
    ),
    "blank": (RankedRecord, RANKED, {"completions": ["a", " "]}, "'completions[1]' is empty"),
    "none": (StepsRecord, STEPS, {"steps": [], "labels": []}, "the field 'steps' is empty"),
    "fewer": (StepsRecord, STEPS, {"labels": [True]}, "Received: 2 steps and 1 labels"),
    "labels": (StepsRecord, STEPS, {"labels": [True, 0.5]}, "'labels[1]' must be true or false"),
}


@pytest.mark.parametrize(("kind", "good", "change", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_line(tmp_path, kind, good, change, reason):
    path = write_lines(tmp_path / "it.jsonl", [good, good | change, good])
    with pytest.raises(BadRecordError) as caught:
        read_records(path, kind)
    assert str(caught.value).startswith(f"{path}:2: ") and reason in str(caught.value)
    records = read_records(path, kind, on_bad="skip")
    assert [record.source for record in records] == [f"{path}:1", f"{path}:3"]


def test_good_lines_of_every_kind(tmp_path):
    path = write_lines(tmp_path / "it.jsonl", [LABELLED | RANKED | STEPS])
    source = f"{path}:1"
    assert read_records(path, LabelledRecord)[0] == LabelledRecord("p", "c", True, source)
    assert read_records(path, RankedRecord)[0] == RankedRecord("p", ("a", "b", "c"), source)
    assert read_records(path, StepsRecord)[0] == StepsRecord("p", ("a", "b"), (True, False), source)


def test_pairs_apart_keep_their_prompt_on_one_side_of_a_split():
    pairs = [PreferenceRecord(f"p{i}", "good", "bad", source=f"f:{i}") for i in range(40)]
    singles = unpaired(pairs)
    assert len(singles) == 80
    assert singles[3] == LabelledRecord("p1", "bad", False, "f:1")
    train, test = split_by_prompt(singles, 0.3)
    assert train and test and not {r.prompt for r in train} & {r.prompt for r in test}


@pytest.mark.parametrize("encode", [encode_ranked, encode_labelled, encode_steps])
def test_streams_of_them_resume(encode):
    texts = ["x" * (1 + i % 3) for i in range(12)]
    records = {
        encode_ranked: [PreferenceRecord(f"{t}{i}", "yes", "no") for i, t in enumerate(texts)],
        encode_labelled: [LabelledRecord(f"{t}{i}", "yes", i > 3) for i, t in enumerate(texts)],
        encode_steps: [StepsRecord(t, ("a", "b"), (i > 3, True)) for i, t in enumerate(texts)],
    }[encode]
    examples = encode(records, BYTES)
    stream = BatchStream(examples, 4, [7, 12], seed=1)
    batches = [next(stream) for _ in range(2)]
    assert stream.num_tokens == count_tokens(batches[1])
    state = stream.state()
    following = next(stream)
    again = BatchStream(examples, 4, [7, 12], seed=1)
    again.restore(state)
    for one, other in zip(following, next(again)):
        np.testing.assert_array_equal(one, other)
