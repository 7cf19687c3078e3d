"""Briefs: what a text shall say, and the records that trainings read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.data import split_by_prompt

KINDS = ("ad", "story", "article")
TONES = ("plain", "warm", "brisk")
LANGUAGES = ("en", "zh")
_ARROW = " ->"


@dataclasses.dataclass(frozen=True)
class Brief:
    """What a text shall say, of which kind it is and in what tone.

    Attributes:
        slots: (name, value) pairs; a name may occur more than once.
        kind: "ad", "story" or "article".
        tone: "plain", "warm" or "brisk"; None where nothing is asked.
        language: "en" or "zh".

    Raises:
        ValueError: if there is no slot, or kind, tone or language is none of those.

    >>> brief = Brief((("name", "NAME"), ("food", "French")), tone="warm")
    >>> brief.prompt
    'ad warm | name NAME | food French ->'
    """

    slots: tuple[tuple[str, str], ...]
    kind: str = "ad"
    tone: str | None = None
    language: str = "en"

    def __post_init__(self) -> None:
        if not self.slots:
            raise ValueError("A brief has one slot at least. Received: slots=()")
        for name, value, known in (
            ("kind", self.kind, KINDS),
            ("tone", self.tone, (*TONES, None)),
            ("language", self.language, LANGUAGES),
        ):
            if value not in known:
                allowed = ", ".join(map(str, known))
                raise ValueError(f"{name} is one of {allowed}. Received: {name}={value!r}")

    @property
    def prompt(self) -> str:
        """The text that a model continues: kind and tone, then the slots."""
        head = self.kind if self.tone is None else f"{self.kind} {self.tone}"
        slots = [f"{name} {value}" for name, value in self.slots]
        return " | ".join([head, *slots]) + _ARROW

    def record(self, text: str | None = None) -> dict[str, Any]:
        """A record of ``FineTuner`` and ``OnPolicyTrainer``: the prompt, the brief's fields, and where a text is
        given, it as "completion"."""
        row = dataclasses.asdict(self) | {"prompt": self.prompt}
        return row if text is None else row | {"completion": " " + text}


def brief_of(record: Mapping[str, Any]) -> Brief:
    """The brief of a record that ``Brief.record`` made, also one that went through JSON.

    >>> brief = Brief((("food", "French"),))
    >>> brief_of(brief.record("Eat French.")) == brief
    True
    """
    slots = tuple((name, value) for name, value in record["slots"])
    return Brief(slots, record["kind"], record["tone"], record["language"])


@dataclasses.dataclass(frozen=True)
class Told:
    """A brief with the texts that people wrote for it.

    Attributes:
        brief: Brief.
        texts: one text at least.
        names: placeholder -> what stands for it, see ``relexicalise``; empty for none.
    """

    brief: Brief
    texts: tuple[str, ...]
    names: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def prompt(self) -> str:
        """The brief's."""
        return self.brief.prompt


def split_told(told: list[Told], test_fraction: float) -> tuple[list[Told], list[Told]]:
    """(training, held-out) by a hash of the prompt: a held-out brief is not in training in other words."""
    train, test = split_by_prompt(told, test_fraction)
    return list(train), list(test)


def varied(
    brief: Brief, text: str, values: Mapping[str, Sequence[str]], seed: int | Sequence[int]
) -> tuple[Brief, str]:
    """A brief and its text with other values, so that a model learns to say what it reads.

    Half of the slots are changed, of those whose value stands in the text, is two characters long at least, and
    neither is a part of another slot's value nor has one as its part.

    Args:
        brief: Brief.
        text: str, written for it.
        values: name of a slot -> the values to choose among.
        seed: of the choice.

    Returns:
        (Brief, text).

    >>> brief = Brief((("name", "NAME"), ("food", "French")))
    >>> varied(brief, "NAME serves French food.", {"name": ["NAME"], "food": ["Thai"]}, 0)[1]
    'NAME serves Thai food.'
    """
    numbers = np.random.default_rng(seed)
    told = [value for _, value in brief.slots]
    changes, slots = {}, []
    for name, value in brief.slots:
        alone = sum(value in other or other in value for other in told) == 1
        fresh = str(numbers.choice(values[name]))
        if alone and len(value) > 1 and value in text and numbers.random() < 0.5:
            changes[value], value = fresh, fresh
        slots.append((name, value))
    if changes:
        old = "|".join(map(re.escape, changes))
        text = re.sub(old, lambda found: changes[found.group()], text)
    return dataclasses.replace(brief, slots=tuple(dict.fromkeys(slots))), text


def relexicalise(text: str, names: Mapping[str, str]) -> str:
    """A text with its placeholders replaced.

    >>> relexicalise("NAME is near NEAR.", {"NAME": "Zizzi", "NEAR": "the Avalon"})
    'Zizzi is near the Avalon.'
    """
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text
