"""Who talks to a system: what a user hears and answers, and whether it is content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from tfalign.applications.dialogue.lexicon import slots_in
from tfalign.applications.dialogue.records import Act, Goal
from tfalign.applications.dialogue.world import World


class Heard(NamedTuple):
    """A reply as a user hears it."""

    words: tuple[str, ...]  # with placeholders
    entity: int | None  # what a name in it names; None without a name, or where nothing was found
    found: int  # entities that the database found for the system


class Answer(NamedTuple):
    """What a user says; None for nothing: the user leaves."""

    words: list[str] | None
    acts: tuple[Act, ...]


class User(Protocol):
    """Who talks to the system."""

    is_content: bool  # whether the dialogue was a success so far

    def begin(self) -> Answer:
        """The first words."""

    def hear(self, heard: Heard) -> Answer:
        """The answer to a reply."""


class ScriptedUser:
    """Says given words, whatever it hears.

    Args:
        words: the words of each turn.
    """

    is_content = False

    def __init__(self, words: Sequence[Sequence[str]]) -> None:
        self._words = list(map(list, words))
        self._said = 0

    def begin(self) -> Answer:
        """See ``User``."""
        self._said = 1
        return Answer(self._words[0], ())

    def hear(self, heard: Heard) -> Answer:
        """See ``User``."""
        del heard
        self._said += 1
        is_over = self._said > len(self._words)
        return Answer(None if is_over else self._words[self._said - 1], ())


class Contentment:
    """Keeps what was offered and told.

    Args:
        goal: Goal.
        world: World.

    Attributes:
        entity: number of the entity it was offered last; None before.
        answered: set of str, slots it wants to know and was told of that entity.

    >>> world = World("english", [{"name": "Ann's", "area": "north", "phone": "1"}], ("area",), ("phone",))
    >>> so_far = Contentment(Goal({"area": "north"}, ("phone",)), world)
    >>> so_far.note(Heard(("[name]",), 0, 1))
    >>> so_far.fits, so_far.is_content
    (True, False)
    >>> so_far.note(Heard(("[phone]",), None, 1))
    >>> so_far.is_content
    True
    """

    def __init__(self, goal: Goal, world: World) -> None:
        self.goal = goal
        self.world = world
        self.entity: int | None = None
        self.answered: set[str] = set()

    def note(self, heard: Heard) -> None:
        """A reply; another entity's answers are its own."""
        if heard.entity is not None:
            if heard.entity != self.entity:
                self.answered = set()
            self.entity = heard.entity
        if self.entity is not None:
            row = self.world.rows[self.entity]
            told = {slot for slot in slots_in(heard.words) if row.get(slot) is not None}
            self.answered |= told & set(self.goal.requests)

    @property
    def fits(self) -> bool:
        """Whether it was offered what it looks for."""
        return self.entity is not None and not self.violated(self.goal.constraints, self.entity)

    @property
    def is_content(self) -> bool:
        """Whether it was offered what it looks for, and told all it wanted to know."""
        return self.fits and set(self.goal.requests) <= self.answered

    def violated(self, wanted: Mapping[str, str], entity: int) -> list[str]:
        """The slots in which an entity is not as wanted."""
        row = self.world.rows[entity]
        return [s for s, value in wanted.items() if not self.world.satisfies(s, value, row)]
