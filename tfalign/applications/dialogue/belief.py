"""A dialogue state as a span of text, "food: thai area: north", and back."""

from __future__ import annotations

from collections.abc import Mapping

from tfalign.applications.dialogue.world import World

NOTHING = "-"  # an empty belief
_MARK = ":"


def write_belief(belief: Mapping[str, str], world: World) -> str:
    """The span of a belief: slots in the world's order, each followed by its value's words.

    >>> world = World("english", [], ("food", "area"), ())
    >>> write_belief({"area": "north", "food": "North American"}, world)
    'food: north american area: north'
    """
    parts = [
        " ".join([slot + _MARK, *world.words(belief[slot])])
        for slot in world.informable
        if slot in belief
    ]
    return " ".join(parts) or NOTHING


def read_belief(text: str, world: World) -> dict[str, str]:
    """The belief that a span says; words that stand in no slot, and slots without a value, are left out.

    >>> world = World("english", [], ("food", "area"), ())
    >>> read_belief("cheap food: north american area:", world)
    {'food': 'north american'}
    """
    marks = {slot + _MARK: slot for slot in world.informable}
    found, slot = {}, None
    for word in text.split():
        if word in marks:
            slot = marks[word]
            found[slot] = []
        elif slot is not None:
            found[slot].append(word)
    return {slot: world.text(words) for slot, words in found.items() if words}
