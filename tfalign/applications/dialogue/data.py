"""Dialogue data by name."""

from __future__ import annotations

from typing import NamedTuple

from tfalign.applications.dialogue.embedded import (
    embedded_dialogues,
    embedded_templates,
    embedded_world,
)
from tfalign.applications.dialogue.readers.camrest import read_camrest
from tfalign.applications.dialogue.readers.crosswoz import read_crosswoz
from tfalign.applications.dialogue.records import DialogueRecord
from tfalign.applications.dialogue.templates import Templates
from tfalign.applications.dialogue.world import World

_READERS = {"camrest": read_camrest, "crosswoz": read_crosswoz}
_EMBEDDED = {"train": (600, 1), "val": (60, 2), "test": (100, 3)}  # (dialogues, seed)


class Data(NamedTuple):
    """A world and its dialogues."""

    world: World
    train: list[DialogueRecord]
    validation: list[DialogueRecord]
    test: list[DialogueRecord]
    templates: Templates  # of users


def open_data(name: str) -> Data:
    """The data of a name.

    Args:
        name: "embedded", "embedded:chinese", "camrest:FOLDER" or "crosswoz:FOLDER".

    Raises:
        ValueError: if there is no such data.
        FileNotFoundError, BadRecordError: if a file is not there, or is not what it should be.
    """
    kind, _, rest = name.partition(":")
    if kind in _READERS and rest:
        world, splits = _READERS[kind](rest)
        parts = (splits[split] for split in ("train", "val", "test"))
        return Data(world, *parts, Templates.learn(world, splits["train"]))
    if kind == "embedded":
        world = embedded_world(rest or "english")
        parts = (embedded_dialogues(world, *which) for which in _EMBEDDED.values())
        return Data(world, *parts, embedded_templates(world))
    known = ", ".join(["embedded:LANGUAGE", *(f"{kind}:FOLDER" for kind in _READERS)])
    raise ValueError(f"Dialogue data is one of {known}. Received: {name!r}")
