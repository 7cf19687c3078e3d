"""Layouts by trainers: fifty records each, as their kind, with all columns; and what a wrong layout says."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tests.data.readers import spelled_layouts as spelled
from tests.data.readers.spelled_layouts import BAD, COUNT, GOOD, QUESTIONS, ROWS, TOOLS
from tfalign.data import (
    LAYOUTS,
    BadRecordError,
    CompletionRecord,
    ConversationRecord,
    LabelledRecord,
    PreferenceRecord,
    PromptRecord,
    StepsRecord,
    TextRecord,
    as_conversation,
    encode_completions,
    encode_conversations,
    records_of_rows,
)
from tfalign.text import Message, Tokenizer, message_fields, train_byte_bpe
from tfalign.trainers.data import all_records, split_records
from tfalign.trainers.options import LAYOUTS as NAMES
from tfalign.trainers.options import DataOptions

ROLES = {"pad": "<|pad|>", "bos": "<|bos|>", "eos": "<|end|>"}
CHAT = (
    "{% if tools %}[{% for t in tools %}{{ t.function.name }}{% endfor %}]{% endif %}{% for m in messages %}"
    "{{ m.role }}:{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function.arguments.a }}"
    "{% endfor %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
TOKENIZER = Tokenizer(train_byte_bpe([], 259, ROLES)._special, ROLES, CHAT)
FILES = [
    spelled.json_lines,
    spelled.json_array,
    spelled.table,
    spelled.parquet,
    spelled.dataset,
    spelled.saved,
    spelled.splits,
    spelled.hub,
]


def read(given, kind, layout=None):
    options = DataOptions(layout=layout)
    mapping = not isinstance(given, str | list) and hasattr(given, "keys")
    records = (
        split_records(given, kind, options)[0] if mapping else all_records(given, kind, options)
    )
    assert len(records) == COUNT
    return list(records)


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_every_file_and_object_has_the_same_records(write, tmp_path):
    records = read(write(ROWS["pairs"], tmp_path), PreferenceRecord)
    said = [(r.prompt, r.chosen, r.rejected) for r in records]
    assert said == list(zip(QUESTIONS, GOOD, BAD))
    assert [int(record.row["id"]) for record in records] == list(range(COUNT))


PAIR = [(Message("user", q), Message("assistant", good)) for q, good in zip(QUESTIONS, GOOD)]
ASKED = [pair[:1] for pair in PAIR]


def fields(records, *names):
    return [tuple(getattr(record, name) for name in names) for record in records]


@pytest.mark.parametrize(
    ("layout", "rows", "kind", "names", "truth"),
    [
        (None, "texts", TextRecord, ["text"], [(f"{q} {a}",) for q, a in zip(QUESTIONS, GOOD)]),
        (
            None,
            "completions",
            CompletionRecord,
            ["prompt", "completion"],
            list(zip(QUESTIONS, GOOD)),
        ),
        ("alpaca", "alpaca", ConversationRecord, ["messages"], [(pair,) for pair in PAIR]),
        (
            "alpaca",
            "alpaca",
            CompletionRecord,
            ["prompt", "completion"],
            list(zip(spelled.SCRIPTS.values(), GOOD)),
        ),
        ("alpaca", "alpaca", PromptRecord, ["prompt"], [(s,) for s in spelled.SCRIPTS.values()]),
        ("sharegpt", "sharegpt", ConversationRecord, ["messages"], [(pair,) for pair in PAIR]),
        (
            "sharegpt",
            "sharegpt",
            CompletionRecord,
            ["prompt", "completion"],
            list(zip(ASKED, GOOD)),
        ),
        ("sharegpt", "sharegpt", PromptRecord, ["prompt"], [(asked,) for asked in ASKED]),
        (
            None,
            "ultrafeedback",
            PreferenceRecord,
            ["prompt", "chosen", "rejected"],
            list(zip(ASKED, GOOD, BAD)),
        ),
        (None, "ultrafeedback", ConversationRecord, ["messages"], [(pair,) for pair in PAIR]),
        (None, "ultrafeedback", PromptRecord, ["prompt"], [(q,) for q in QUESTIONS]),
        (None, "parts", ConversationRecord, ["messages"], [(pair,) for pair in PAIR]),
        (
            None,
            "kto",
            LabelledRecord,
            ["completion", "label"],
            [
                (bad, False) if n % 2 else (good, True)
                for n, (good, bad) in enumerate(zip(GOOD, BAD))
            ],
        ),
        (
            "stepwise",
            "stepwise",
            StepsRecord,
            ["steps", "labels"],
            [((good, bad), (True, False)) for good, bad in zip(GOOD, BAD)],
        ),
        (None, "steps", StepsRecord, ["steps"], list(zip(zip(GOOD, BAD)))),
        (
            "anthropic",
            "transcripts",
            PreferenceRecord,
            ["prompt", "chosen", "rejected"],
            [
                (f"\n\nHuman: {q}\n\nAssistant:", f" {good}", f" {bad}")
                for q, good, bad in zip(QUESTIONS, GOOD, BAD)
            ],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", value if isinstance(value, str) else ""),
)
def test_every_layout_is_read_by_its_flag_and_by_its_prefix(
    layout, rows, kind, names, truth, tmp_path
):
    path = spelled.json_array(ROWS[rows], tmp_path)
    records = read(path, kind, layout)
    assert fields(records, *names) == truth
    assert [record.row["id"] for record in records] == list(range(COUNT))
    if layout is not None:
        assert read(f"{layout}:{path}", kind) == records
    in_memory = read(ROWS[rows], kind, layout)
    assert fields(in_memory, *names) == truth


@pytest.mark.parametrize("write", [spelled.json_lines, spelled.parquet], ids=lambda w: w.__name__)
def test_calls_of_tools_reach_the_chat_template(write, tmp_path):
    """Arrow gives every message all fields, null where they were not."""
    records = read(write(ROWS["tools"], tmp_path), ConversationRecord)
    assert records[0].row["tools"] == TOOLS
    call = message_fields(records[3].messages[1])
    function = {"name": "add", "arguments": {"a": 3, "b": 3}}
    assert call == {
        "role": "assistant",
        "tool_calls": [{"id": "call_3", "type": "function", "function": function}],
    }
    examples = encode_conversations(records, TOKENIZER)
    expected = (
        "[add]user:What is 3 + 3?<|end|>assistant:3<|end|>tool:6<|end|>assistant:It is 6.<|end|>"
    )
    ids = examples.tokens[3].tolist()
    assert "".join(TOKENIZER.decode([i]) or "<|end|>" for i in ids) == expected
    start = examples.tokens.starts[3]
    said = [i for i, own in zip(ids, examples.is_target[start : start + len(ids)]) if own]
    assert TOKENIZER.decode(said) == "3It is 6."


def test_text_layouts_become_conversations_for_a_model_that_has_a_template():
    records = read(ROWS["alpaca"], CompletionRecord, "alpaca")
    assert [as_conversation(record).prompt for record in records] == ASKED
    example = encode_completions([as_conversation(records[2])], TOKENIZER)
    assert TOKENIZER.decode(example.tokens[0].tolist()) == "user:What is 2 + 2?assistant:It is 4."


def test_sharegpt_with_system_tools_and_calls():
    said = [
        {"from": "human", "value": "1 + 1?"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "It is 2."},
    ]
    row = {"conversations": said, "system": "Be brief.", "tools": json.dumps(TOOLS)}
    record = records_of_rows([row], ConversationRecord, layout="sharegpt")[0]
    assert [turn.role for turn in record.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert record.row["tools"] == TOOLS
    call = {"type": "function", "name": "add", "arguments": {"a": 1}}
    assert message_fields(record.messages[2])["tool_calls"][0]["function"]["name"] == call["name"]


@pytest.mark.parametrize(
    ("rows", "kind", "sentence"),
    [
        ("alpaca", CompletionRecord, r"Alpaca \(instruction, output\): --layout=alpaca reads it"),
        ("alpaca", PreferenceRecord, "Alpaca .*, data for `tfalign sft --layout=alpaca`"),
        ("sharegpt", ConversationRecord, "ShareGPT .*: --layout=sharegpt reads it"),
        ("sharegpt", CompletionRecord, "--layout=sharegpt reads it"),
        ("stepwise", StepsRecord, "stepwise supervision .*: --layout=stepwise reads it"),
        ("transcripts", PreferenceRecord, "hh-rlhf's transcripts .*: --layout=anthropic reads it"),
        ("parts", CompletionRecord, r"conversations \(messages\): --conversations reads it"),
        ("ultrafeedback", CompletionRecord, "conversations .*: --conversations reads it"),
        ("pairs", CompletionRecord, r"\?completion=chosen"),
        ("pairs", LabelledRecord, "preferences .*: leaving --unpaired out reads it"),
        ("kto", PreferenceRecord, "rated responses .*: --loss=kto --unpaired reads it"),
        ("completions", ConversationRecord, "leaving --conversations out reads it"),
        ("texts", PreferenceRecord, "texts .*, data for `tfalign pretrain`"),
    ],
)
def test_a_wrong_layout_is_named_with_what_reads_it(rows, kind, sentence):
    with pytest.raises(
        BadRecordError, match=f"is missing. Received fields: .* looks like .*{sentence}"
    ):
        records_of_rows(ROWS[rows], kind)


@pytest.mark.parametrize(
    ("kind", "row", "sentence", "layout"),
    [
        (
            CompletionRecord,
            ROWS["pairs"][0],
            "the layout alpaca has a column 'instruction'",
            "alpaca",
        ),
        (CompletionRecord, ROWS["alpaca"][0], "sharegpt has a list of turns in 'conv", "sharegpt"),
        (StepsRecord, ROWS["steps"][0], "stepwise has the steps in 'completions'", "stepwise"),
        (
            PreferenceRecord,
            ROWS["ultrafeedback"][0] | {"prompt": "Else?"},
            "'prompt' must be said in 'chosen'. Received: 'Else",
            None,
        ),
        (
            ConversationRecord,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "must be a part of the type text",
            None,
        ),
        (
            ConversationRecord,
            {"messages": [{"role": "assistant", "content": None}]},
            "'messages.0..content' must be text. Received: None",
            None,
        ),
        (
            ConversationRecord,
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "a", "arguments": "{"}}],
                    }
                ]
            },
            "must be an object, or its JSON. Received: '{'",
            None,
        ),
        (
            ConversationRecord,
            ROWS["tools"][0] | {"tools": "add"},
            "'tools' must be a list of f",
            None,
        ),
        (
            CompletionRecord,
            {"prompt": "a", "completion": ROWS["tools"][0]["messages"][1:2]},
            "calls of tools are learned from whole conversations, --conversations",
            None,
        ),
    ],
)
def test_what_contradicts_a_layout_is_told(kind, row, sentence, layout):
    with pytest.raises(BadRecordError, match=sentence):
        records_of_rows([row], kind, layout=layout)


def test_layouts_have_one_list_of_names():
    assert tuple(LAYOUTS) == NAMES
    with pytest.raises(ValueError, match="layout must be one of alpaca, .* Received: layout='x'"):
        records_of_rows(ROWS["pairs"], PreferenceRecord, layout="x")


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="it is installed")
def test_without_the_library_the_extra_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"need pip install tfalign\[datasets\]"):
        all_records("hf://org/name", TextRecord, DataOptions())
