"""Inform and Success of MultiWOZ, by the rules of its standard evaluation (Nekvinda and Dusek 2021).

A dialogue informs where, in every domain of the goal, the entities that the belief found when the system last named one
are among those that the goal allows; it succeeds where the system also told all that the goal asks for. Which domain a
reply is about, where the system does not say, is the one whose belief changed last.

The standard's tables of misspelt names of places are left out; values are compared as they stand, in lower case.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfalign.evaluation.statistics import Interval, wilson_interval

State = Mapping[str, Mapping[str, str]]  # domain -> slot -> value

WITH_ENTITIES = ("restaurant", "hotel", "attraction", "train")
_FREE = ("taxi", "police", "hospital")  # domains without entities
_REQUESTABLE = ("PHONE", "ADDRESS", "POST", "REFERENCE", "TRAINID")
_SPELLINGS = {
    "ADDRESS": ("address",),
    "NAME": ("name",),
    "PHONE": ("phone",),
    "POST": ("postcode", "post"),
    "REFERENCE": ("reference", "ref"),
    "TRAINID": ("trainid", "id", "train"),
}
_OF_SPELLING = {one: slot for slot, spellings in _SPELLINGS.items() for one in spellings}
_FUZZY = {
    "hotel": ("name",),
    "attraction": ("name",),
    "restaurant": ("name", "food"),
    "train": ("departure", "destination"),
}
_UNSEARCHED = ("location", "openhours", "price", "takesbookings", "introduction", "signature")
_ANY = frozenset(
    {"dontcare", "not mentioned", "don't care", "dont care", "do n't care", "do not care"}
)
_RATIO = 90
_PLACEHOLDER = re.compile(r"\[([\w ]+)\]")


class MultiWOZGoal(NamedTuple):
    """What a user of MultiWOZ wants."""

    informable: State
    requestable: Mapping[
        str, frozenset[str]
    ]  # domain -> of PHONE, ADDRESS, POST, REFERENCE, TRAINID


class MultiWOZTurn(NamedTuple):
    """A system's turn."""

    reply: str  # with placeholders: [restaurant_name], [value_phone], [reference], ...
    state: State
    booked: frozenset[str] = frozenset()  # domains in which a booking has a reference by now
    domains: tuple[str, ...] | None = None  # what the reply is about; None to tell by the states


class MultiWOZDatabase:
    """The entities of MultiWOZ's four domains that have some.

    >>> rows = [{"id": "1", "area": "north", "name": "the grill"}, {"id": "2", "area": "?", "name": "a bar"}]
    >>> MultiWOZDatabase({"hotel": rows}).matching("hotel", {"area": "north", "name": "grill"})
    {'1'}

    Args:
        rows: domain -> its rows, as the data set has them.
    """

    def __init__(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._rows = {
            domain: [{_column(name): value for name, value in row.items()} for row in found]
            for domain, found in rows.items()
        }
        self._known: dict[Any, set[str]] = {}

    def matching(self, domain: str, wanted: Mapping[str, str]) -> set[str]:
        """The ids of entities, for trains train ids; "?" in a row may be anything."""
        wanted = {_column(slot): value.lower() for slot, value in wanted.items()}
        limits = tuple(sorted((s, value) for s, value in wanted.items() if value not in _ANY))
        if (domain, limits) not in self._known:
            name = "trainid" if domain == "train" else "id"
            self._known[domain, limits] = {
                row[name]
                for row in self._rows.get(domain, ())
                if all(_fits(domain, slot, value, row) for slot, value in limits)
            }
        return self._known[domain, limits]


class Rates(NamedTuple):
    """Fractions of dialogues."""

    inform: Interval
    success: Interval


def multiwoz_rates(
    goals: Sequence[MultiWOZGoal],
    dialogues: Sequence[Sequence[MultiWOZTurn]],
    database: MultiWOZDatabase,
) -> Rates:
    """Inform and Success of dialogues, with Wilson's intervals.

    Raises:
        ValueError: if there are not as many of each, or none.
    """
    if not len(goals) == len(dialogues) > 0:
        raise ValueError(
            f"Dialogues and goals are as many. Received: {len(dialogues)} and {len(goals)}"
        )
    found = [inform_and_success(*one, database) for one in zip(goals, dialogues)]
    return Rates(*(wilson_interval(sum(which), len(found)) for which in zip(*found)))


def inform_and_success(
    goal: MultiWOZGoal, turns: Sequence[MultiWOZTurn], database: MultiWOZDatabase
) -> tuple[bool, bool]:
    """(whether a dialogue informs, whether it succeeds)."""
    domains = active_domains([turn.state for turn in turns])
    offered: dict[str, set[str]] = {domain: set() for domain in goal.informable}
    told: dict[str, set[str]] = {domain: set() for domain in goal.informable}
    for turn, estimated in zip(turns, domains):
        about = estimated if turn.domains is None else turn.domains
        said = spoken_slots(turn.reply)
        for domain in set(about) & set(goal.informable):
            if ("TRAINID" if domain == "train" else "NAME") in said and domain in WITH_ENTITIES:
                found = database.matching(domain, turn.state.get(domain, {}))
                found = found if domain in turn.state else set()
                if not offered[domain] or not offered[domain] <= found:
                    offered[domain] = found
            told[domain] |= said & (set(_REQUESTABLE) - {"REFERENCE"})
            if "REFERENCE" in said and domain in turn.booked:
                told[domain].add("REFERENCE")
    informs = all(_is_informed(goal, domain, offered[domain], database) for domain in offered)
    asked = {domain: goal.requestable.get(domain, frozenset()) for domain in told}
    return informs, informs and all(asked[domain] <= told[domain] for domain in told)


def _is_informed(goal, domain, offered, database):
    """Whether what was offered in a domain is what the goal allows."""
    wanted = goal.informable[domain]
    if domain in _FREE or "name" in wanted:
        return True
    asks_for_train = "TRAINID" in goal.requestable.get(domain, ())
    if domain == "train" and not offered and not asks_for_train:
        return True
    return bool(offered) and offered <= database.matching(domain, wanted)


def active_domains(states: Sequence[State]) -> list[tuple[str, ...]]:
    """What each turn is about: the domain whose belief changed; of several the one before, else the fullest."""
    current, old, old_changed = None, {}, []
    found = []
    for state in states:
        changed = [
            domain
            for domain, slots in state.items()
            if set(slots.items()) - set(old.get(domain, {}).items())
        ]
        if changed:
            if current not in changed:
                current = max(changed, key=lambda domain: len(state[domain]))
        elif current is None:
            found.append(())
            continue
        elif len(old_changed) > 1:
            old_changed = [d for d in old_changed if d in state and d != current]
            current = old_changed[0] if old_changed else current
        old, old_changed = state, changed
        found.append((current,))
    return found


def spoken_slots(reply: str) -> set[str]:
    """The standard's names of a reply's placeholders, of those that count.

    >>> sorted(spoken_slots("[restaurant_name] is at [value_address], [hotel_area]"))
    ['ADDRESS', 'NAME']
    """
    names = (match.lower().split("_")[-1] for match in _PLACEHOLDER.findall(reply))
    return {_OF_SPELLING[name] for name in names if name in _OF_SPELLING}


def _column(name):
    name = name.lower().replace(" ", "")
    return {"arriveby": "arrive", "leaveat": "leave"}.get(name, name)


def _fits(domain, slot, wanted, row):
    value = row.get(slot)
    if value is None or slot in _UNSEARCHED or value == "?":
        return True
    if slot in ("arrive", "leave"):
        time, limit = _minutes(value), _minutes(wanted)
        return time <= limit if slot == "arrive" else time >= limit
    if slot in _FUZZY.get(domain, ()):
        return partial_ratio(str(value), wanted) >= _RATIO
    return str(value) == wanted


def _minutes(text):
    """A time of day; one that is none is its beginning."""
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip())
    return 60 * int(found[1]) + int(found[2]) if found else 0


@functools.lru_cache(maxsize=1 << 16)
def partial_ratio(first: str, second: str) -> int:
    """0 to 100: how much the shorter text is like the part of the longer one that is most like it, as fuzzywuzzy has it.

    >>> partial_ratio("grill", "the grill"), partial_ratio("cat", "dog")
    (100, 0)
    """
    shorter, longer = sorted((first, second), key=len)
    blocks = difflib.SequenceMatcher(None, shorter, longer).get_matching_blocks()
    starts = (max(there - here, 0) for here, there, _ in blocks)
    pieces = (longer[start : start + len(shorter)] for start in starts)
    ratios = (difflib.SequenceMatcher(None, shorter, piece).ratio() for piece in pieces)
    return round(100 * max(ratios, default=0.0))
