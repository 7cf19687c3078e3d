"""What a row that cannot be read looks like, and the flag that reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfalign.data.readers.values import as_list, is_list
from tfalign.data.records import (
    CompletionRecord,
    ConversationRecord,
    LabelledRecord,
    PreferenceRecord,
    PromptRecord,
    RankedRecord,
    StepsRecord,
    TextRecord,
)


class _Look(NamedTuple):
    """A way of writing rows."""

    name: str
    columns: tuple[str, ...]
    ways: Mapping[type, str]  # kind of record: how it is read from such rows
    trainers: str  # that are for such rows
    fits: Callable[[Mapping[str, Any]], bool] = lambda row: True


def _are_transcripts(row):
    return "\n\nAssistant:" in str(row["chosen"]) and "prompt" not in row


def _are_steps(row):
    return is_list(as_list(row["completions"])) and is_list(as_list(row["labels"]))


_ASKING = (CompletionRecord, PromptRecord, ConversationRecord)
_LOOKS = (
    _Look(
        "hh-rlhf's transcripts",
        ("chosen", "rejected"),
        dict.fromkeys(
            (PreferenceRecord, CompletionRecord, PromptRecord, TextRecord), "--layout=anthropic"
        ),
        "`tfalign reward` and `tfalign preference` with --layout=anthropic",
        _are_transcripts,
    ),
    _Look(
        "Alpaca",
        ("instruction", "output"),
        dict.fromkeys((*_ASKING, TextRecord), "--layout=alpaca"),
        "`tfalign sft --layout=alpaca`",
    ),
    _Look(
        "Alpaca with preferences",
        ("instruction", "chosen", "rejected"),
        dict.fromkeys((PreferenceRecord, PromptRecord), "--layout=alpaca"),
        "`tfalign preference --layout=alpaca`",
    ),
    _Look(
        "ShareGPT",
        ("conversations",),
        dict.fromkeys((*_ASKING, PreferenceRecord, LabelledRecord), "--layout=sharegpt"),
        "`tfalign sft --conversations --layout=sharegpt`",
    ),
    _Look(
        "stepwise supervision",
        ("prompt", "completions", "labels"),
        {StepsRecord: "--layout=stepwise"},
        "`tfalign process_reward --layout=stepwise`",
        _are_steps,
    ),
    _Look(
        "conversations",
        ("messages",),
        {CompletionRecord: "--conversations", ConversationRecord: "--conversations"},
        "`tfalign sft --conversations`",
    ),
    _Look(
        "preferences",
        ("chosen", "rejected"),
        {
            LabelledRecord: "leaving --unpaired out",
            CompletionRecord: '"?completion=chosen" behind the file\'s name',
            RankedRecord: "leaving --rankings out",
        },
        "`tfalign reward` and `tfalign preference`",
    ),
    _Look(
        "rated responses (KTO)",
        ("completion", "label"),
        {PreferenceRecord: "--loss=kto --unpaired"},
        "`tfalign preference --loss=kto --unpaired`",
    ),
    _Look(
        "rankings",
        ("prompt", "completions"),
        {PreferenceRecord: "--rankings"},
        "`tfalign reward --rankings=plackett_luce`",
    ),
    _Look("steps with labels", ("prompt", "steps", "labels"), {}, "`tfalign process_reward`"),
    _Look(
        "questions and answers",
        ("question", "answer"),
        {
            CompletionRecord: '"?prompt=question&completion=answer" behind the file\'s name',
            PromptRecord: '"?prompt=question" behind the file\'s name',
        },
        '`tfalign sft` with "?prompt=question&completion=answer" behind the file\'s name',
    ),
    _Look(
        "prompts and completions",
        ("prompt", "completion"),
        {ConversationRecord: "leaving --conversations out"},
        "`tfalign sft`",
    ),
    _Look("texts with classes", ("text", "label"), {}, "`tfalign classify`"),
    _Look("texts", ("text",), {}, "`tfalign pretrain`"),
)


def advice(kind: type, row: Mapping[str, Any]) -> str:
    """A sentence on what a row looks like that lacks a field, and what reads it; empty if it looks like nothing.

    Args:
        kind: the record class that was asked for.
        row: column -> value.

    >>> advice(CompletionRecord, {"instruction": "Add.", "input": "", "output": "3"})
    '. This looks like Alpaca (instruction, output): --layout=alpaca reads it'
    >>> advice(PreferenceRecord, {"text": "Hi."})
    '. This looks like texts (text), data for `tfalign pretrain`'
    """
    alike = [
        look
        for look in _LOOKS
        if all(row.get(column) is not None for column in look.columns) and look.fits(row)
    ]
    readable = [look for look in alike if kind in look.ways]
    if not alike:
        return ""
    look = (readable or alike)[0]
    what = f". This looks like {look.name} ({', '.join(look.columns)})"
    return (
        f"{what}: {look.ways[kind]} reads it" if readable else f"{what}, data for {look.trainers}"
    )
