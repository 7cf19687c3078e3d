"""What a dialogue is about: slots, and a database of the entities that have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfalign.applications.dialogue.records import without_preferences
from tfalign.applications.dialogue.words import joined, words_of

_MANY = 3


def has_value(slot: str, wanted: str, row: Mapping[str, Any]) -> bool:
    """Whether an entity has a value, or has it among several, in any case of letters.

    >>> has_value("dish", "Soup", {"dish": ["soup", "bread"]})
    True
    """
    found = row.get(slot)
    values = found if isinstance(found, (list, tuple)) else [found]
    return any(value is not None and str(value).lower() == wanted.lower() for value in values)


@dataclasses.dataclass(frozen=True)
class World:
    """Slots and a database.

    Attributes:
        language: of the words, see ``words.LANGUAGES``.
        rows: the entities: slot -> value, or list of values.
        informable: slots that a belief is made of, in the order in which it is written.
        requestable: slots of an entity that a user may ask for.
        names: slots that name an entity; one, or one in each domain.
        open_slots: informable slots with too many values to learn: a user's words hold a placeholder instead.
        satisfies: ``(slot, wanted value, row) -> bool``.

    >>> world = World("english", [{"name": "Ann's", "food": "thai"}], ("food",), ("phone",))
    >>> world.matching({"food": "thai"}), world.matching({"food": "dontcare"}), world.matching({"food": "greek"})
    ([0], [0], [])
    """

    language: str
    rows: Sequence[Mapping[str, Any]]
    informable: tuple[str, ...]
    requestable: tuple[str, ...]
    names: tuple[str, ...] = ("name",)
    open_slots: tuple[str, ...] = ()
    satisfies: Callable[[str, str, Mapping[str, Any]], bool] = has_value
    _found: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def matching(self, belief: Mapping[str, str]) -> list[int]:
        """Numbers of the entities that a belief allows."""
        wanted = tuple(sorted(without_preferences(belief).items()))
        if wanted not in self._found:
            self._found[wanted] = [
                number
                for number, row in enumerate(self.rows)
                if all(self.satisfies(slot, value, row) for slot, value in wanted)
            ]
        return self._found[wanted]

    def words(self, text: str) -> list[str]:
        """See ``words.words_of``."""
        return words_of(text, self.language)

    def text(self, words: Sequence[str]) -> str:
        """See ``words.joined``."""
        return joined(words, self.language)

    def name_of(self, number: int) -> tuple[str, str]:
        """(name slot, name) of an entity."""
        row = self.rows[number]
        slot = next(slot for slot in self.names if slot in row)
        return slot, str(row[slot])

    def values(self, slot: str) -> list[str]:
        """The distinct values that the entities have for a slot, sorted."""
        found = set()
        for row in self.rows:
            value = row.get(slot)
            found.update(value if isinstance(value, (list, tuple)) else [value])
        return sorted(str(value) for value in found - {None})


def count_word(count: int) -> str:
    """How many entities the database found, as one word.

    >>> count_word(0), count_word(17)
    ('match:0', 'match:3+')
    """
    return f"match:{count}" if count < _MANY else f"match:{_MANY}+"
