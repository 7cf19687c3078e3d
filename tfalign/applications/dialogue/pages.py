"""Dialogues as a person would read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfalign.applications.dialogue.environment import DialogueEnvironment
from tfalign.applications.dialogue.records import Goal
from tfalign.applications.dialogue.world import World
from tfalign.evaluation.markdown import escape_cell, table


def transcript(world: World, environment: DialogueEnvironment) -> list[tuple[str, str]]:
    """(speaker, text) of a dialogue that took place, with values for placeholders."""
    found = []
    for exchange in environment.exchanges:
        found.append(("user", world.text(exchange.user)))
        found.append(("system", world.text(exchange.spoken)))
    if environment.last_words:
        found.append(("user", world.text(environment.last_words)))
    return found


def said_goal(goal: Goal) -> str:
    """A goal in a line.

    >>> said_goal(Goal({"food": "thai"}, ("phone",), {"food": "welsh"}))
    'food = thai (first welsh); asks for phone'
    """
    wanted = [
        f"{slot} = {value}" + (f" (first {goal.first[slot]})" if slot in goal.first else "")
        for slot, value in goal.constraints.items()
    ]
    return f"{', '.join(wanted)}; asks for {', '.join(goal.requests)}"


def side_by_side(world: World, played: Mapping[str, Sequence[Any]]) -> str:
    """Markdown: the dialogues of several policies with the same users, next to each other.

    Args:
        world: World.
        played: title -> DialogueEnvironments, of the same records in the same order.
    """
    pages = []
    for number, row in enumerate(zip(*played.values()), start=1):
        talks = [transcript(world, one) for one in row]
        lines = [
            [_line(talk, at) for talk in talks] for at in range(max(len(talk) for talk in talks))
        ]
        ends = ["**content**" if one.user.is_content else "*gives up*" for one in row]
        goal = escape_cell(said_goal(row[0].user.goal))
        pages.append(f"### {number}. {goal}\n\n{table(list(played), [*lines, ends])}")
    return "\n".join(pages)


def _line(talk, at):
    if at >= len(talk):
        return ""
    speaker, text = talk[at]
    return f"{'**' if speaker == 'system' else ''}{escape_cell(text)}{'**' if speaker == 'system' else ''}"
