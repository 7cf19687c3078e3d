"""What a task-oriented dialogue is: a goal, and turns of a user's words, a belief about them and a reply."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

DONTCARE = "dontcare"  # a value: the user has no preference


class Act(NamedTuple):
    """What a speaker does with a slot in a turn."""

    intent: str  # "inform", "request", "nooffer", or another of the data's
    slot: str  # "" where the act is of no slot
    value: str = ""


class Goal(NamedTuple):
    """What a user wants."""

    constraints: Mapping[str, str]  # informable slot -> value; without those that do not matter
    requests: tuple[str, ...]  # requestable slots to be asked for
    first: Mapping[str, str] = {}  # values to be asked for first, which no entity may have


class Turn(NamedTuple):
    """A user's words and the system's reply to them."""

    user: str
    belief: Mapping[str, str]  # informable slot -> value, after the user's words
    reply: str
    user_acts: tuple[Act, ...] = ()
    reply_acts: tuple[Act, ...] = ()


@dataclasses.dataclass(frozen=True)
class DialogueRecord:
    """A dialogue with the goal its user had. ``source`` is "file:dialogue".

    >>> turn = Turn("Cheap food, please.", {"pricerange": "cheap"}, "What kind of food?")
    >>> DialogueRecord(Goal({"pricerange": "cheap"}, ("phone",)), (turn,)).turns[0].belief["pricerange"]
    'cheap'
    """

    goal: Goal
    turns: tuple[Turn, ...]
    source: str = ""


def without_preferences(belief: Mapping[str, str]) -> dict[str, str]:
    """The slots of a belief that restrict what is looked for.

    >>> without_preferences({"area": "dontcare", "food": "thai"})
    {'food': 'thai'}
    """
    return {slot: value for slot, value in belief.items() if value != DONTCARE}
