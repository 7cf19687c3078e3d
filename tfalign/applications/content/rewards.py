"""Rewards and costs of what is written for a brief: functions ``(prompt, response, record) -> float`` of texts.

The record is that of ``Brief.record``. Each is a reward by itself, a part of one (``OnPolicyTrainer(reward={...})``), or a
cost with a limit (``costs={...}``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfalign.applications.content.briefs import brief_of
from tfalign.applications.content.compliance import Compliance
from tfalign.applications.content.slots import SlotChecker
from tfalign.rewards import Repetition
from tfalign.rewards.rules import words

_TONES = {
    "warm": ("love", "enjoy", "welcome", "friendly", "cosy", "喜欢", "温馨", "欢迎"),
    "brisk": ("hurry", "now", "today", "quick", "抓紧", "马上", "立即"),
}


@dataclasses.dataclass(frozen=True)
class SlotReward:
    """Less the slots that are missing or wrong, and less the claims that the brief does not make.

    Attributes:
        checker: SlotChecker.
        claims: what an added claim is charged, in slots.

    >>> from tfalign.applications.content import Brief
    >>> from tfalign.applications.content.restaurants import CHECKER
    >>> brief = Brief((("name", "NAME"), ("food", "French")))
    >>> reward = SlotReward(CHECKER)
    >>> reward(brief.prompt, " NAME serves French food.", brief.record())
    0.0
    >>> reward(brief.prompt, " NAME is cheap.", brief.record())
    -2.0
    """

    checker: SlotChecker
    claims: float = 1.0

    def __call__(self, prompt: str, response: str, record: Mapping[str, Any]) -> float:
        errors = self.checker(brief_of(record), response)
        return -float(errors.missing + errors.wrong + self.claims * errors.added)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Fraction of the brief's slots that are told rightly.

    Attributes:
        checker: SlotChecker.
    """

    checker: SlotChecker

    def __call__(self, prompt: str, response: str, record: Mapping[str, Any]) -> float:
        return self.checker(brief_of(record), response).coverage


@dataclasses.dataclass(frozen=True)
class Claims:
    """Claims that the brief does not make: a cost.

    Attributes:
        checker: SlotChecker.
    """

    checker: SlotChecker

    def __call__(self, prompt: str, response: str, record: Mapping[str, Any]) -> float:
        return float(self.checker(brief_of(record), response).added)


@dataclasses.dataclass(frozen=True)
class Banned:
    """1 where a text breaks a rule: a cost.

    Attributes:
        compliance: Compliance.

    >>> from tfalign.applications.content.compliance import ENGLISH
    >>> banned = Banned(Compliance(ENGLISH))
    >>> banned("", "The best pub in town."), banned("", "A pub in town.")
    (1.0, 0.0)
    """

    compliance: Compliance

    def __call__(self, prompt: str, response: str) -> float:
        return float(self.compliance.is_banned(response))


def word_count(prompt: str, response: str) -> float:
    """Words of a text, every Chinese character one: a cost, or a part of a reward.

    >>> word_count("", " Red kites!"), word_count("", "红色的")
    (2.0, 3.0)
    """
    return float(len(words(response)))


def tone(prompt: str, response: str, record: Mapping[str, Any]) -> float:
    """How much of the brief's tone a text has, from 0 to 1: words of the tone, with saturation, of which more bring
    nothing; 1 where no tone is asked, and for the plain one less by the words of the others.

    >>> tone("", "Hurry, now!", {"tone": "brisk"}), tone("", "You will love it.", {"tone": "plain"})
    (1.0, 0.5)
    """
    wanted = record["tone"]
    found = {name: sum(map(response.lower().count, some)) for name, some in _TONES.items()}
    if wanted in found:
        return min(found[wanted], 2) / 2
    excess = min(sum(found.values()), 2) / 2
    return 1.0 if wanted is None else 1.0 - excess


def distinctness(prompt: str, response: str) -> float:
    """Fraction of the pairs of words that did not stand in the text before.

    >>> distinctness("", "so so so so"), distinctness("", "so it is")
    (0.33333333333333337, 1.0)
    """
    return 1.0 - Repetition(2)(prompt, response)
