"""Schema-guided dialogues (Rastogi et al. 2020): English, over many services. Slots have their service in front; the
entities are what the services returned. The goal, which the data does not have, is the last state and all that was
requested."""

from __future__ import annotations

import os

from tfalign.applications.dialogue.readers.files import read_json
from tfalign.applications.dialogue.records import DONTCARE, Act, DialogueRecord, Goal, Turn
from tfalign.applications.dialogue.world import World
from tfalign.files import as_path


def read_sgd(folder: str | os.PathLike) -> tuple[World, dict[str, list[DialogueRecord]]]:
    """The world, and the dialogues of "val", all dev_dialogues_*.json.

    Args:
        folder: with those and dev_schema.json.

    Raises:
        FileNotFoundError, BadRecordError: if a file is not there, or is not what it should be.
    """
    schema = read_json(as_path(folder) / "dev_schema.json")
    records, rows = [], {}
    for file in sorted(as_path(folder).glob("dev_dialogues_*.json")):
        for dialogue in read_json(file):
            records.append(_record(dialogue, f"{file}:{dialogue['dialogue_id']}"))
            rows |= {repr(row): row for row in _entities(dialogue)}
    slots = tuple(
        f"{service['service_name']}-{slot['name']}"
        for service in schema
        for slot in service["slots"]
    )
    return World("english", list(rows.values()), slots, slots, _names(slots)), {"val": records}


def _names(slots):
    return tuple(
        slot for slot in slots if slot.endswith(("name", "title", "airlines", "-to_station"))
    )


def _record(dialogue, source):
    turns, belief, requested = [], {}, {}
    pairs = zip(dialogue["turns"][::2], dialogue["turns"][1::2])
    for user, system in pairs:
        for frame in user["frames"]:
            state, service = frame["state"], frame["service"]
            belief |= {f"{service}-{s}": v[0] for s, v in state["slot_values"].items()}
            requested |= {f"{service}-{slot}": None for slot in state["requested_slots"]}
        acts = _acts(user), _acts(system)
        turns.append(Turn(user["utterance"], dict(belief), system["utterance"], *acts))
    wanted = {slot: value for slot, value in belief.items() if value != DONTCARE}
    return DialogueRecord(Goal(wanted, tuple(requested)), tuple(turns), source)


def _acts(turn):
    return tuple(
        Act(
            action["act"].lower(),
            f"{frame['service']}-{action['slot']}" if action["slot"] else "",
            (action["values"] or [""])[0],
        )
        for frame in turn["frames"]
        for action in frame["actions"]
        if action["slot"] not in ("intent", "count")
    )


def _entities(dialogue):
    for turn in dialogue["turns"]:
        for frame in turn["frames"]:
            for result in frame.get("service_results", ()):
                yield {f"{frame['service']}-{slot}": value for slot, value in result.items()}
