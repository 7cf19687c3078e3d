"""What a source holds: records of text by kind, those that are no good, and the split by prompt."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfalign.text import ASSISTANT, Conversation

Label, Score = str, float  # a class's name or number; a number, in a table as text
User = str  # a name or a number, as text; empty where it is unknown
Words = tuple[str, ...]  # as they are split already: a word may be a no-break space


@dataclasses.dataclass(frozen=True)
class Record:
    """What every record has besides its own fields.

    Attributes:
        row: the columns of the data that are no field of its kind.
        weight: float, how often it is in an epoch, in the mean over epochs, see ``data.mixed``.
    """

    row: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, compare=False, repr=False, kw_only=True
    )
    weight: float = dataclasses.field(default=1.0, compare=False, repr=False, kw_only=True)

    @property
    def travelling(self) -> dict[str, Any]:
        """Fields that a record of another kind made of this one takes over."""
        return {name: getattr(self, name) for name in ("source", "row", "weight")}


@dataclasses.dataclass(frozen=True)
class TextRecord(Record):
    """A document to learn the language from. ``source`` is "file:line", here and below."""

    text: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class PromptRecord(Record):
    """What a policy shall answer; rewards see the other columns in ``row``."""

    prompt: str | Conversation
    source: str = ""


@dataclasses.dataclass(frozen=True)
class CompletionRecord(Record):
    """A prompt and the answer to imitate; their texts are joined as they stand."""

    prompt: str | Conversation
    completion: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class PreferenceRecord(Record):
    """Two answers to one prompt. ``margin`` says how much better the chosen one is, 0 if unknown; ``user`` whose
    choice it is, empty if unknown."""

    prompt: str | Conversation
    chosen: str
    rejected: str
    margin: Score = 0.0
    source: str = ""
    user: User = ""


@dataclasses.dataclass(frozen=True)
class LabelledRecord(Record):
    """An answer by itself that was liked (``label`` is true) or not; ``user`` by whom, empty if unknown."""

    prompt: str | Conversation
    completion: str
    label: bool
    source: str = ""
    user: User = ""


@dataclasses.dataclass(frozen=True)
class RankedRecord(Record):
    """Two answers to one prompt, or more, the best first."""

    prompt: str | Conversation
    completions: tuple[str, ...]
    source: str = ""


@dataclasses.dataclass(frozen=True)
class StepsRecord(Record):
    """An answer in steps; ``labels`` says of each whether it is right."""

    prompt: str | Conversation
    steps: tuple[str, ...]
    labels: tuple[bool, ...]
    source: str = ""


@dataclasses.dataclass(frozen=True)
class ConversationRecord(Record):
    """A whole conversation; the assistant's turns are to be imitated."""

    messages: Conversation
    source: str = ""


@dataclasses.dataclass(frozen=True)
class ClassRecord(Record):
    """A text and the class it belongs to."""

    text: str
    label: Label
    source: str = ""


@dataclasses.dataclass(frozen=True)
class TaggedRecord(Record):
    """A sentence and a tag for every word: "O", or "B-" and "I-" with the kind of a name."""

    words: Words
    tags: Words
    source: str = ""


@dataclasses.dataclass(frozen=True)
class SimilarityRecord(Record):
    """Two sentences, and how much they mean the same."""

    first: str
    second: str
    score: Score
    source: str = ""


KINDS = (
    TextRecord,
    PromptRecord,
    CompletionRecord,
    PreferenceRecord,
    LabelledRecord,
    RankedRecord,
    StepsRecord,
    ConversationRecord,
    ClassRecord,
    TaggedRecord,
    SimilarityRecord,
)


class BadRecordError(ValueError):
    """A record that cannot be used; the message is "file:line: reason".

    Attributes:
        source: str, the record's place, such as "file:line" or "file.zip/member:line".
        reason: str, what is wrong with it and what was received.
    """

    def __init__(self, source: str, reason: str) -> None:
        source, reason = printable(source), printable(reason)
        super().__init__(source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class BadFileError(BadRecordError):
    """A file that cannot be read, or not to its end: never skipped, as nobody knows how many records
    are lost with it."""


def printable(text: str) -> str:
    r"""Text that every stream and every file in UTF-8 takes: lone surrogates are spelled out.

    >>> printable("caf\udce9")
    'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclasses.dataclass(frozen=True)
class BadRecord(Record):
    """A record that was skipped, and why."""

    source: str
    reason: str


class Records(Sequence):
    """The usable records of a source, in its order.

    Attributes:
        bad: list of BadRecord, those skipped.
    """

    def __init__(self, records: Iterable[Any], bad: Iterable[BadRecord] = ()) -> None:
        self._records = list(records)
        self.bad = list(bad)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int | slice) -> Any:
        return self._records[index]

    def summary(self, shown: int = 3) -> str:
        """str such as "12 read, 2 skipped (a.jsonl:4: chosen == rejected; ...)"."""
        return summarise(len(self), self.bad, shown)


def summarise(num_good: int, bad: Sequence[BadRecord], shown: int = 3) -> str:
    """One line on what was read and what was skipped.

    >>> summarise(2, [BadRecord("a.jsonl:4", "the text is empty")])
    '2 read, 1 skipped (a.jsonl:4: the text is empty)'
    """
    if not bad:
        return f"{num_good} read, 0 skipped"
    reasons = [f"{_short(one.source)}: {one.reason}" for one in bad[:shown]]
    if len(bad) > shown:
        reasons.append("...")
    return f"{num_good} read, {len(bad)} skipped ({'; '.join(reasons)})"


def _short(source):
    return source if source.startswith("tfds:") else os.path.basename(source)


class BadRecordPolicy:
    """Stops at a bad record, or counts it: one place for reading and for encoding.

    Args:
        on_bad: "stop" or "skip".
    """

    def __init__(self, on_bad: str) -> None:
        if on_bad not in ("stop", "skip"):
            raise ValueError(f'on_bad must be "stop" or "skip". Received: on_bad={on_bad!r}')
        self._stops = on_bad == "stop"
        self.bad = []

    def handle(self, error: BadRecordError) -> None:
        """Raises the BadRecordError, or notes it in ``bad``; a BadFileError is always raised."""
        if self._stops or isinstance(error, BadFileError):
            raise error
        self.bad.append(BadRecord(error.source, error.reason))


def split_by_prompt(records: Iterable[Any], test_fraction: float) -> tuple[list[Any], list[Any]]:
    """Splits records so that no prompt is on both sides, the same way in every process.

    Args:
        records: sequence of records of one kind; a document counts as its own prompt, and of a
            conversation what stands before the assistant's first turn.
        test_fraction: float in [0, 1], about how much of the prompts is held out.

    Returns:
        (train, test), lists in the order given.
    """
    if not 0 <= test_fraction <= 1:
        raise ValueError(
            f"test_fraction must be between 0 and 1. Received: test_fraction={test_fraction}"
        )
    train, test = [], []
    for record in records:
        (test if is_held_out(record, test_fraction) else train).append(record)
    return train, test


def is_held_out(record: Any, test_fraction: float) -> bool:
    """Whether a record is of the fraction that ``split_by_prompt`` holds out."""
    digest = hashlib.sha256(_asked(record).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < test_fraction * 2**64


def _asked(record):
    """str, what a record answers; equal for records that must stay on one side of a split."""
    if isinstance(record, (TextRecord, ClassRecord)):
        return record.text
    if isinstance(record, TaggedRecord):
        return json.dumps([record.words])
    if isinstance(record, SimilarityRecord):
        return json.dumps([record.first, record.second])
    if isinstance(record, ConversationRecord):
        roles = [message.role for message in record.messages]
        turns = roles.index(ASSISTANT) if ASSISTANT in roles else len(roles)
        return json.dumps(record.messages[:turns])
    return record.prompt if isinstance(record.prompt, str) else json.dumps(record.prompt)
