"""Goals for simulated users: those of dialogues, and new ones drawn from the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tfalign.applications.dialogue.records import DONTCARE, DialogueRecord, Goal
from tfalign.applications.dialogue.world import World

_FIRST = 0.3  # fraction of drawn goals that begin with a value no entity has


def satisfiable(world: World, records: Iterable[DialogueRecord]) -> list[Goal]:
    """The goals of dialogues that some entity satisfies and that ask for something it has."""
    found = []
    for record in records:
        goal = record.goal
        rows = [world.rows[number] for number in world.matching(goal.constraints)]
        asked = tuple(s for s in goal.requests if rows and all(s in row for row in rows))
        if goal.constraints and asked:
            found.append(goal._replace(requests=asked))
    return found


def drawn_goals(
    world: World, values: dict[str, Sequence[str]], count: int, seed: int
) -> list[Goal]:
    """Goals of entities drawn at random: one to three of their values, and one or two slots to ask for.

    Args:
        world: World, whose entities have one value for each slot.
        values: slot -> values that users speak of.
        count: int.
        seed: int.
    """
    numbers = np.random.default_rng(seed)
    telling = [slot for slot in world.requestable if slot not in world.informable]
    found = []
    while len(found) < count:
        row = world.rows[int(numbers.integers(len(world.rows)))]
        slots = [slot for slot in world.informable if row.get(slot) in values[slot]]
        slots = numbers.permutation(slots)[: int(numbers.integers(1, 4))].tolist()
        constraints = {slot: row[slot] for slot in sorted(slots)}
        rows = [world.rows[number] for number in world.matching(constraints)]
        asked = [slot for slot in telling if all(row.get(slot) for row in rows)]
        asked = numbers.permutation(asked)[: int(numbers.integers(1, 3))].tolist()
        if not slots or not asked:
            continue
        first = {}
        slot = str(numbers.choice(slots))
        if numbers.random() < _FIRST:
            other = str(numbers.choice(values[slot]))
            first = {} if world.matching(constraints | {slot: other}) else {slot: other}
        found.append(Goal(constraints, tuple(asked), first))
    return found


def spoken_values(world: World, records: Iterable[DialogueRecord]) -> dict[str, list[str]]:
    """Informable slot -> the values that beliefs of dialogues have for it, but "dontcare", and those of entities where
    beliefs have such."""
    beliefs = [turn.belief for record in records for turn in record.turns]
    found = {}
    for slot in world.informable:
        spoken = {belief[slot] for belief in beliefs if slot in belief} - {DONTCARE}
        known = set(world.values(slot))
        found[slot] = sorted(spoken | known if spoken & known else spoken)
    return found
