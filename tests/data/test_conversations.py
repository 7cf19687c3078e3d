"""Conversations as the field writes them, encoded by a chat template, and from kind to kind."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfalign.data import (
    BadRecordError,
    BatchStream,
    CompletionRecord,
    ConversationRecord,
    LabelledRecord,
    PreferenceRecord,
    PromptRecord,
    as_completions,
    as_conversation,
    as_conversations,
    as_prompts,
    chosen_completions,
    encode_completions,
    encode_conversations,
    encode_labelled,
    encode_preferences,
    encode_prompts,
    encode_ranked,
    paired,
    read_records,
    split_by_prompt,
    unpaired,
)
from tfalign.text import Message, Tokenizer, encode_conversation, train_byte_bpe

ROLES = {"pad": "<|pad|>", "bos": "<|bos|>", "eos": "<|end|>"}
CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}:\n{{ m.content }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}"
)
TOKENIZER = Tokenizer(train_byte_bpe([], 259, ROLES)._special, ROLES, CHAT)
ASKED = (Message("system", "Be kind."), Message("user", "Hi."))
TALK = (*ASKED, Message("assistant", "Yes?"), Message("user", "Bye."), Message("assistant", "Bye!"))


def turns(messages):
    return [{"role": m.role, "content": m.content} for m in messages]


def read(tmp_path, kind, *rows, **more):
    path = tmp_path / "it.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_records(str(path), kind, **more))


def test_conversations_as_openai_and_as_sharegpt_write_them(tmp_path):
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    shared = [{"from": names[m.role], "value": m.content} for m in TALK]
    rows = [{"messages": turns(TALK)}, {"messages": shared}]
    one, other = read(tmp_path, ConversationRecord, *rows)
    assert one.messages == other.messages == TALK
    (tmp_path / "it.jsonl").write_text(json.dumps({"conversations": shared}))
    source = f"{tmp_path / 'it.jsonl'}?messages=conversations"
    assert read_records(source, ConversationRecord)[0].messages == TALK


def test_prompts_and_answers_may_be_messages(tmp_path):
    answer = {"role": "assistant", "content": "Yes?"}
    other = {"role": "assistant", "content": "What?"}
    row = {"prompt": turns(ASKED), "completion": [answer], "label": True}
    expected = f"{tmp_path / 'it.jsonl'}:1"
    assert read(tmp_path, CompletionRecord, row) == [CompletionRecord(ASKED, "Yes?", expected)]
    assert read(tmp_path, LabelledRecord, row) == [LabelledRecord(ASKED, "Yes?", True, expected)]
    preference = PreferenceRecord(ASKED, "Yes?", "What?", source=expected)
    pair = {"prompt": turns(ASKED), "chosen": [answer], "rejected": [other]}
    assert read(tmp_path, PreferenceRecord, pair) == [preference]
    whole = {"chosen": [*turns(ASKED), answer], "rejected": [*turns(ASKED), other]}
    assert read(tmp_path, PreferenceRecord, whole) == [preference]


@pytest.mark.parametrize(
    "kind, row, reason",
    [
        (ConversationRecord, {"messages": "Hi."}, "'messages' must be a list"),
        (ConversationRecord, {"messages": []}, "'messages' is empty"),
        (
            ConversationRecord,
            {"messages": [{"role": "user"}]},
            r"'messages\[0\]' must be a message",
        ),
        (
            ConversationRecord,
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            r"'messages\[0\].content\[0\]' must be a part of the type text",
        ),
        (
            CompletionRecord,
            {"prompt": "p", "completion": turns(TALK)},
            "text or one message of the",
        ),
        (
            PreferenceRecord,
            {"chosen": turns(TALK), "rejected": turns(TALK[:3])},
            "must differ in their last message alone",
        ),
    ],
)
def test_what_is_no_conversation_is_told(tmp_path, kind, row, reason):
    with pytest.raises(BadRecordError, match=f"it.jsonl:1: .*{reason}"):
        read(tmp_path, kind, row)


def test_only_the_assistants_turns_are_targets_padded_and_packed():
    records = [ConversationRecord(TALK), ConversationRecord(TALK[:3])]
    examples = encode_conversations(records, TOKENIZER)
    expected = encode_conversation(TOKENIZER, TALK)
    assert examples.tokens[0].tolist() == expected.token_ids
    (batch,) = BatchStream(examples, 2, [100], epochs=1)
    assert batch.loss_mask[0, : len(expected.token_ids)].tolist() == expected.from_assistant
    for row in range(2):
        said = TOKENIZER.decode(batch.token_ids[row][batch.loss_mask[row]], skip_special=False)
        assert said == ("Yes?<|end|>Bye!<|end|>", "Yes?<|end|>")[row]
    (packed,) = BatchStream(examples, 1, packed_length=160, epochs=1)
    both = [packed.token_ids[0][(packed.segment_ids[0] == s) & packed.loss_mask[0]] for s in (1, 2)]
    assert sorted(TOKENIZER.decode(ids, skip_special=False) for ids in both) == [
        "Yes?<|end|>",
        "Yes?<|end|>Bye!<|end|>",
    ]
    assert batch.token_ids[0].tolist().count(TOKENIZER.bos_id) == 1


def test_a_conversation_in_which_the_assistant_is_silent_is_bad():
    with pytest.raises(BadRecordError, match="record 1: the assistant says nothing"):
        encode_conversations([ConversationRecord(TALK), ConversationRecord(ASKED)], TOKENIZER)


def test_prompts_that_are_conversations_everywhere():
    """Prompt alone, with an answer, with two, ranked and liked: one prompt, and one end."""
    asked = encode_conversation(TOKENIZER, ASKED, open_ended=True).token_ids
    answers = {text: [*TOKENIZER.encode(text), TOKENIZER.eos_id] for text in ("Yes?", "What?")}
    pair = PreferenceRecord(ASKED, *answers)
    text = PreferenceRecord("Hi.", "a", "b")  # texts and conversations may stand side by side
    prompts = encode_prompts([text, PromptRecord(ASKED)], TOKENIZER)
    assert prompts.tokens[0].tolist() == [TOKENIZER.bos_id, *TOKENIZER.encode("Hi.")]
    assert prompts.tokens[1].tolist() == asked
    completions = encode_completions([CompletionRecord(ASKED, "Yes?")], TOKENIZER)
    assert completions.tokens[0].tolist() == asked + answers["Yes?"]
    assert completions.is_target.tolist() == [False] * len(asked) + [True] * len(answers["Yes?"])
    preferences = encode_preferences([text, pair], TOKENIZER)
    assert preferences.chosen[1].tolist() == asked + answers["Yes?"]
    assert preferences.rejected[1].tolist() == asked + answers["What?"]
    ranked = encode_ranked([text, pair], TOKENIZER)
    assert ranked.prompts[1].tolist() == asked
    assert [ranked.responses[row].tolist() for row in (2, 3)] == list(answers.values())
    labelled = encode_labelled(unpaired([text, pair]), TOKENIZER)
    assert labelled.prompts[2].tolist() == asked
    assert labelled.responses[4].tolist() == answers["Yes?"]


def test_conversion_of_transcripts_and_texts():
    transcript = "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Bye.\n\nAssistant:"
    record = as_conversation(PreferenceRecord(transcript, " Bye!", " What?"))
    assert record == PreferenceRecord(TALK[1:4], "Bye!", "What?")
    assert as_conversation(record) == record
    plain = as_conversation(CompletionRecord("Where is Rome? ", " In Italy."))
    assert plain == CompletionRecord((Message("user", "Where is Rome?"),), "In Italy.")


def test_conversions_there_and_back():
    completions = as_completions([ConversationRecord(TALK, "a:1")])
    assert completions == [
        CompletionRecord(ASKED, "Yes?", "a:1"),
        CompletionRecord(TALK[:4], "Bye!", "a:1"),
    ]
    whole = as_conversations(completions)
    assert [record.messages for record in whole] == [TALK[:3], TALK]
    pairs = [PreferenceRecord(ASKED, "Yes?", "What?"), PreferenceRecord("Hi.", "a", "b")]
    assert paired(unpaired(pairs)) == pairs
    assert chosen_completions(pairs)[0] == CompletionRecord(ASKED, "Yes?")
    assert as_prompts(unpaired(pairs)) == [PromptRecord(ASKED), PromptRecord("Hi.")]


def test_split_keeps_conversations_of_one_opening_together():
    records = [
        ConversationRecord((Message("user", f"{number}"), Message("assistant", answer)))
        for number in range(200)
        for answer in ("a", "b")
    ]
    train, test = split_by_prompt(records, 0.3)
    openings = [{record.messages[0] for record in side} for side in (train, test)]
    assert not openings[0] & openings[1]
    assert len(openings[1]) == len(test) / 2 == pytest.approx(60, abs=25)
    again = [PromptRecord(record.messages[:1]) for record in records]
    assert len(split_by_prompt(again, 0.3)[1]) == len(test)
    assert np.all([isinstance(record, PromptRecord) for record in again])
