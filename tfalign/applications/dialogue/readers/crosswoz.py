"""CrossWOZ (Zhu et al. 2020): Chinese dialogues about sights, restaurants and hotels in Beijing, in ConvLab's form.

A dialogue has several goals, one after the other. Here each goal's turns are a dialogue of their own; what is about
the metro and taxis, which have no entities, is left out. Slots have their domain in front: "餐馆-评分".
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfalign.applications.dialogue.readers.files import read_json
from tfalign.applications.dialogue.records import Act, DialogueRecord, Goal, Turn
from tfalign.applications.dialogue.world import World
from tfalign.files import as_path

_DOMAINS = {"餐馆": "restaurant", "景点": "attraction", "酒店": "hotel"}
_NAME, _FACILITIES = "名称", "酒店设施"
_OPEN = ("餐馆-推荐菜", *(f"{domain}-{_NAME}" for domain in _DOMAINS))
_NO_DISH = "没有"  # "none", among a restaurant's dishes
_NUMBERS = ("评分", "门票", "人均消费", "价格")
_ELSEWHERE = re.compile("id ?= ?[0-9]")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def read_crosswoz(folder: str | os.PathLike) -> tuple[World, dict[str, list[DialogueRecord]]]:
    """The world, and the dialogues of "train", "val" and "test": of each ten of the file's dialogues eight, one, one.

    Args:
        folder: with val.json.zip and restaurant_db.json, attraction_db.json, hotel_db.json.

    Raises:
        FileNotFoundError, BadRecordError: if a file is not there, or is not what it should be.
    """
    splits = {"train": [], "val": [], "test": []}
    file = as_path(folder) / "val.json.zip"
    for number, (name, dialogue) in enumerate(sorted(read_json(file).items())):
        split = {8: "val", 9: "test"}.get(number % 10, "train")
        splits[split] += list(_dialogues(dialogue, f"{file}:{name}"))
    rows = [
        _prefixed(domain, row)
        for domain, kind in _DOMAINS.items()
        for _, row in read_json(as_path(folder) / f"{kind}_db.json")
    ]
    records = [record for part in splits.values() for record in part]
    informable = {slot for one in records for turn in one.turns for slot in turn.belief}
    requestable = {slot for record in records for slot in record.goal.requests}
    names = tuple(f"{domain}-{_NAME}" for domain in _DOMAINS)
    slots = tuple(sorted(informable)), tuple(sorted(requestable))
    return World("chinese", rows, *slots, names, _OPEN, satisfies), splits


def satisfies(slot: str, wanted: str, row: Mapping[str, Any]) -> bool:
    """Whether an entity has a value, or a number in its range.

    >>> satisfies("餐馆-评分", "4.5分以上", {"餐馆-评分": 4.7}), satisfies("景点-门票", "免费", {"景点-门票": 20})
    (True, False)
    >>> satisfies("餐馆-人均消费", "50-100元", {"餐馆-人均消费": 68})
    True
    """
    domain, name = slot.split("-", 1)
    if name.startswith(f"{_FACILITIES}-"):
        found = plain(name.removeprefix(f"{_FACILITIES}-")) in map(
            plain, row.get(f"{domain}-{_FACILITIES}") or ()
        )
        return f"{domain}-{_NAME}" in row and found == (wanted != "否")
    value = row.get(slot)
    if value is None:
        return False
    if name in _NUMBERS and isinstance(value, (int, float)):
        return _in_range(value, wanted)
    values = value if isinstance(value, list) else [value]
    return plain(wanted) in map(plain, values)


def _in_range(value, wanted):
    if wanted == "免费":
        return value == 0
    numbers = [float(number) for number in _NUMBER.findall(wanted)]
    if not numbers:
        return False
    if len(numbers) > 1:
        return numbers[0] <= value <= numbers[1]
    if "以上" in wanted:
        return value >= numbers[0]
    return value <= numbers[0] if "以下" in wanted else value == numbers[0]


def plain(value: Any) -> str:
    """A value without spaces and capital letters.

    >>> plain("1小时 - 2小时")
    '1小时-2小时'
    """
    return "".join(str(value).split()).lower()


def _prefixed(domain, row):
    found = {
        f"{domain}-{slot}": value for slot, value in row.items() if value not in (None, [], "")
    }
    dishes = f"{domain}-推荐菜"
    if dishes in found:
        found[dishes] = [dish for dish in found[dishes] if dish != _NO_DISH]
    return found


def _dialogues(dialogue, source):
    """The dialogue of each goal."""
    told = zip(_goal_numbers(dialogue["messages"]), _pairs(dialogue["messages"]))
    for number, turns in itertools.groupby(told, lambda one: one[0]):
        items = [item for item in dialogue["goal"] if item[0] == number]
        if number is None or not items or items[0][1] not in _DOMAINS:
            continue
        goal, domain = _goal(items), items[0][1]
        yield DialogueRecord(
            goal, tuple(_turns([pair for _, pair in turns], domain)), f"{source}:{number}"
        )


def _pairs(messages):
    """(user, system) of each turn."""
    return list(zip(messages[::2], messages[1::2]))


def _goal_numbers(messages):
    """The number of the goal that each user's message is about: what it mentions first, else as before."""
    known, current = set(), None
    for message in messages[::2]:
        done = {(number, slot) for number, _, slot, _, is_done in message["user_state"] if is_done}
        fresh = [number for number, _ in done - known]
        current = max(fresh, key=fresh.count) if fresh else current
        known |= done
        yield current


def _goal(items: Iterable) -> Goal:
    constraints, requests = {}, []
    for _, domain, slot, value, _ in items:
        if value in ("", []):
            if slot != _NAME:
                requests.append(f"{domain}-{slot}")
            continue
        value = value[0] if isinstance(value, list) else value
        if not _ELSEWHERE.search(value):
            constraints[f"{domain}-{slot}"] = plain(value)
    return Goal(constraints, tuple(requests))


def _turns(pairs, domain):
    belief, offered = {}, set()
    for user, system in pairs:
        heard = [act for act in _acts(user["dialog_act"]) if act.slot.startswith(domain)]
        for act in heard:
            named = act.slot.endswith(_NAME) and act.value in offered
            if act.intent == "inform" and act.value and not named:
                belief[act.slot] = plain(act.value)
        own = tuple(
            act
            for act in heard
            if not (act.intent == "request" and act.slot.endswith(_NAME))
            and not (act.intent == "inform" and act.value in offered)
        )
        said = _acts(system["dialog_act"])
        offered |= {act.value for act in said if act.slot.endswith(_NAME)}
        yield Turn(user["content"], dict(belief), system["content"], own, tuple(said))


def _acts(annotated):
    """Acts of [[intent, domain, slot, value], ...]."""
    found = []
    for intent, domain, slot, value in annotated:
        intent = {"recommend": "inform", "select": "select"}.get(intent.lower(), intent.lower())
        name = "" if "none" in (domain, slot) else f"{domain}-{slot}"
        found.append(Act(intent, name, "" if value == "none" else plain(value)))
    return found
