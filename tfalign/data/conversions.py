"""From one kind of record to another, said by name: what is lost or made up is in each docstring."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable
from typing import Any

from tfalign.data.readers import alpaca_asked
from tfalign.data.records import (
    CompletionRecord,
    ConversationRecord,
    LabelledRecord,
    PreferenceRecord,
    PromptRecord,
)
from tfalign.text import ASSISTANT, Message

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": ASSISTANT}


def as_conversation(record: Any) -> Any:
    """The record with a conversation for its prompt, for a model that has a chat template.

    A transcript of "\\n\\nHuman:" and "\\n\\nAssistant:" turns, as in hh-rlhf, is taken apart, and of Alpaca's template
    the instruction taken out; any other text is what the user said. A prompt that is a conversation stays, and spaces
    around answers go.

    >>> as_conversation(PromptRecord("\\n\\nHuman: Hi.\\n\\nAssistant:")).prompt
    (Message(role='user', content='Hi.'),)
    """
    if not isinstance(record.prompt, str):
        return record
    _, *pieces = _SPEAKER.split(record.prompt) if _SPEAKER.match(record.prompt) else [""]
    turns = [(_ROLES[who], said.strip()) for who, said in zip(pieces[::2], pieces[1::2])]
    if turns and turns[-1] == (ASSISTANT, ""):  # what is asked for
        turns.pop()
    prompt = tuple(itertools.starmap(Message, turns)) or (
        Message("user", alpaca_asked(record.prompt) or record.prompt.strip()),
    )
    answers = {
        field.name: value.strip()
        for field in dataclasses.fields(record)
        if field.name in ("completion", "chosen", "rejected")
        for value in [getattr(record, field.name)]
    }
    return dataclasses.replace(record, prompt=prompt, **answers)


def as_prompts(records: Iterable[Any]) -> list[PromptRecord]:
    """What is asked, without the answers, each once: PromptRecords.

    >>> as_prompts([PreferenceRecord("a", "b", "c"), PreferenceRecord("a", "d", "e")])
    [PromptRecord(prompt='a', source='')]
    """
    first = {}
    for record in records:
        first.setdefault(record.prompt, PromptRecord(record.prompt, **record.travelling))
    return list(first.values())


def as_conversations(records: Iterable[CompletionRecord]) -> list[ConversationRecord]:
    """CompletionRecords as whole conversations: ConversationRecords."""
    return [
        ConversationRecord(
            (*record.prompt, Message(ASSISTANT, record.completion)), **record.travelling
        )
        for record in map(as_conversation, records)
    ]


def as_completions(records: Iterable[ConversationRecord]) -> list[CompletionRecord]:
    """Every turn in which the assistant says something as the answer to all before it: CompletionRecords.

    >>> talk = (Message("user", "Hi."), Message("assistant", "Yes?"), Message("user", "Bye."))
    >>> as_completions([ConversationRecord(talk)])[0].completion
    'Yes?'
    """
    return [
        CompletionRecord(record.messages[:turn], message.content, **record.travelling)
        for record in records
        for turn, message in enumerate(record.messages)
        if turn and message.role == ASSISTANT and message.content
    ]


def chosen_completions(records: Iterable[PreferenceRecord]) -> list[CompletionRecord]:
    """The preferred answers of PreferenceRecords, to be imitated: CompletionRecords. What they were
    preferred to is lost."""
    return [CompletionRecord(r.prompt, r.chosen, **r.travelling) for r in records]


def unpaired(records: Iterable[PreferenceRecord]) -> list[LabelledRecord]:
    """Preferences as single answers, one liked and one not: LabelledRecords, twice as many. That one
    was liked better does not mean that the other was not liked.

    >>> [r.label for r in unpaired([PreferenceRecord("Hi.", "Hello!", "What?")])]
    [True, False]
    """
    return [
        LabelledRecord(record.prompt, completion, label, user=record.user, **record.travelling)
        for record in records
        for completion, label in ((record.chosen, True), (record.rejected, False))
    ]


def paired(records: Iterable[LabelledRecord]) -> list[PreferenceRecord]:
    """Single answers as preferences: PreferenceRecords, for every prompt each liked answer with each
    that was not. Prompts with answers of one kind are lost.

    >>> votes = [("a", True), ("b", False), ("c", False)]
    >>> [(r.chosen, r.rejected) for r in paired([LabelledRecord("Hi.", *v) for v in votes])]
    [('a', 'b'), ('a', 'c')]
    """
    by_prompt = {}
    for record in records:
        sides = by_prompt.setdefault(record.prompt, ([], []))
        sides[0 if record.label else 1].append(record)
    return [
        PreferenceRecord(prompt, liked.completion, other.completion, **liked.travelling)
        for prompt, (good, bad) in by_prompt.items()
        for liked, other in itertools.product(good, bad)
    ]
