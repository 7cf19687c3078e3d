"""CamRest676 (Wen et al. 2017): 676 dialogues about restaurants in Cambridge, in ConvLab's form."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from tfalign.applications.dialogue.readers.files import read_json
from tfalign.applications.dialogue.records import DONTCARE, Act, DialogueRecord, Goal, Turn
from tfalign.applications.dialogue.world import World
from tfalign.files import as_path

INFORMABLE = ("food", "area", "pricerange")
REQUESTABLE = ("phone", "address", "postcode", *INFORMABLE)
_FIRST = re.compile(r"serve ([a-z ]+?) food\. If there is no such venue how about")


def read_camrest(folder: str | os.PathLike) -> tuple[World, dict[str, list[DialogueRecord]]]:
    """The world, and the dialogues of "train", "val" and "test".

    Args:
        folder: with CamRestDB.json, train.json.zip, val.json.zip and test.json.zip.

    Raises:
        FileNotFoundError, BadRecordError: if a file is not there, or is not what it should be.
    """
    rows = read_json(as_path(folder) / "CamRestDB.json")
    world = World("english", rows, INFORMABLE, REQUESTABLE)
    splits = ("train", "val", "test")
    return world, {split: _read(as_path(folder) / f"{split}.json.zip") for split in splits}


def _read(file):
    return [
        DialogueRecord(
            _goal(dialogue["goal"]),
            tuple(map(_turn, dialogue["dial"])),
            f"{file}:{dialogue['dialogue_id']}",
        )
        for dialogue in read_json(file)
    ]


def _goal(goal: Mapping[str, Any]) -> Goal:
    wanted = {slot: value for slot, value in goal["info"].items() if value != DONTCARE}
    first = _FIRST.search(goal["text"])
    tried = {"food": first[1]} if first and "food" in wanted else {}
    return Goal(wanted, tuple(goal["reqt"]), tried)


def _turn(turn: Mapping[str, Any]) -> Turn:
    user, system = turn["usr"], turn["sys"]
    belief, requested = {}, []
    for act in user["slu"]:
        for slot, value in act["slots"]:
            if act["act"] == "inform" and slot in INFORMABLE:
                belief[slot] = value.lower()
            elif act["act"] == "request":
                requested.append(Act("request", value))
    own = [act for act in acts(user["dialog_act"]) if act not in requested]
    return Turn(
        user["transcript"],
        belief,
        system["sent"],
        (*own, *requested),
        tuple(acts(system["dialog_act"])),
    )


def acts(annotated: Mapping[str, Any]) -> list[Act]:
    """Acts of ConvLab's {intent: [[slot, value], ...]}; a request has no value.

    >>> acts({"request": [["food", "?"]], "nooffer": [["none", "none"]]})
    [Act(intent='request', slot='food', value=''), Act(intent='nooffer', slot='', value='')]
    """
    return [
        Act(intent, "" if slot == "none" else slot, "" if value in ("?", "none") else value)
        for intent, pairs in annotated.items()
        for slot, value in pairs
    ]
