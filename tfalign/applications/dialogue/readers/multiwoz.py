"""MultiWOZ 2.1 (Eric et al. 2020): English dialogues over several domains in Cambridge. Slots have their domain in
front: "hotel-area"."""

from __future__ import annotations

import os

from tfalign.applications.dialogue.readers.files import read_json
from tfalign.applications.dialogue.records import DONTCARE, Act, DialogueRecord, Goal, Turn
from tfalign.applications.dialogue.world import World
from tfalign.files import as_path

_WITH_ENTITIES = ("restaurant", "hotel", "attraction")
_UNSAID = frozenset({"", "not mentioned", "none"})
_DONTCARE = frozenset({"dontcare", "don't care", "dont care", "do n't care", "do not care"})
_SLOTS = {
    "addr": "address",
    "post": "postcode",
    "ref": "reference",
    "price": "pricerange",
    "ticket": "price",
    "leave": "leaveat",
    "arrive": "arriveby",
    "depart": "departure",
    "dest": "destination",
    "id": "trainid",
    "fee": "entrance fee",
    "car": "type",
}


def read_multiwoz(folder: str | os.PathLike) -> tuple[World, dict[str, list[DialogueRecord]]]:
    """The world, and the dialogues of "val", the file val.json.zip.

    Args:
        folder: with val.json.zip, restaurant_db.json, hotel_db.json and attraction_db.json.

    Raises:
        FileNotFoundError, BadRecordError: if a file is not there, or is not what it should be.
    """
    file = as_path(folder) / "val.json.zip"
    records = [_record(one, f"{file}:{name}") for name, one in read_json(file).items()]
    rows = [
        {f"{domain}-{_name_of(slot)}": value for slot, value in row.items() if value != "?"}
        for domain in _WITH_ENTITIES
        for row in read_json(as_path(folder) / f"{domain}_db.json")
    ]
    informable = {slot for record in records for turn in record.turns for slot in turn.belief}
    requestable = {slot for record in records for slot in record.goal.requests}
    names = tuple(f"{domain}-name" for domain in _WITH_ENTITIES)
    slots = tuple(sorted(informable)), tuple(sorted(requestable))
    return World("english", rows, *slots, names), {"val": records}


def _record(dialogue, source):
    log = dialogue["log"]
    turns = tuple(
        Turn(
            user["text"],
            _belief(system["metadata"]),
            system["text"],
            tuple(_acts(user["dialog_act"])),
            tuple(_acts(system["dialog_act"])),
        )
        for user, system in zip(log[::2], log[1::2])
    )
    return DialogueRecord(goal_of(dialogue["goal"]), turns, source)


def goal_of(goal: dict) -> Goal:
    """The Goal of MultiWOZ's mapping of domains.

    >>> goal_of({"hotel": {"info": {"area": "east"}, "reqt": ["phone"], "book": {"day": "monday", "invalid": False}}})
    Goal(constraints={'hotel-area': 'east'}, requests=('hotel-phone', 'hotel-reference'), first={})
    """
    constraints, requests, first = {}, [], {}
    for domain, part in goal.items():
        if not isinstance(part, dict) or "info" not in part:
            continue
        for found, key in ((constraints, "info"), (first, "fail_info")):
            for slot, value in part.get(key, {}).items():
                if _value(value) not in (None, DONTCARE):
                    found[f"{domain}-{_name_of(slot)}"] = _value(value)
        requests += [f"{domain}-{_name_of(slot)}" for slot in part.get("reqt", ())]
        if part.get("book"):
            requests.append(f"{domain}-reference")
    return Goal(constraints, tuple(requests), first)


def _belief(metadata):
    found = {}
    for domain, parts in metadata.items():
        for slot, value in {**parts["semi"], **parts["book"]}.items():
            value = None if slot == "booked" else _value(value)
            if value is not None:
                found[f"{domain}-{_name_of(slot)}"] = value
    return found


def _value(value):
    value = value[0] if isinstance(value, list) and value else value
    value = value.strip().lower() if isinstance(value, str) else ""
    if value in _UNSAID:
        return None
    return DONTCARE if value in _DONTCARE else value


def _name_of(slot):
    return slot.lower()


def _acts(annotated):
    """Acts of {"Hotel-Inform": [["Area", "east"], ...]}."""
    found = []
    for kind, pairs in annotated.items():
        domain, _, intent = kind.lower().partition("-")
        for slot, value in pairs:
            name = slot.lower()
            name = _SLOTS.get(name, name)
            if kind == "Train-Inform" and name == "time":
                name = "duration"
            said = "" if value in ("?", "none") else str(value).lower()
            found.append(Act(intent, "" if slot == "none" else f"{domain}-{name}", said))
    return found
