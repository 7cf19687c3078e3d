"""Values in texts, replaced by placeholders, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tfalign.applications.dialogue.records import DONTCARE, Act
from tfalign.applications.dialogue.world import World


class Delexicalised(NamedTuple):
    """A text whose values are placeholders."""

    words: tuple[str, ...]
    values: tuple[tuple[str, str], ...]  # (slot, value) of each placeholder, in order


class Lexicon:
    """Phrases and the slots they are values of. The longest phrase from left to right counts.

    >>> world = World("english", [{"name": "Ann's Bar", "area": "north"}], ("area",), ())
    >>> Lexicon.of_world(world, ("name", "area")).delexicalise("Ann's Bar is north.").words
    ('[name]', 'is', '[area]', '.')

    Args:
        world: World.
        phrases: (slot, value) pairs; of two with the same words the first counts.
    """

    def __init__(self, world: World, phrases: Iterable[tuple[str, str]]) -> None:
        self.world = world
        self._phrases: dict[tuple[str, ...], tuple[str, str]] = {}
        for slot, value in phrases:
            words = tuple(world.words(value))
            if words and value != DONTCARE:
                self._phrases.setdefault(words, (slot, value))
        self._lengths: dict[str, list[int]] = {}
        for words in sorted(self._phrases, key=len, reverse=True):
            lengths = self._lengths.setdefault(words[0], [])
            if len(words) not in lengths:
                lengths.append(len(words))

    @classmethod
    def of_world(cls, world: World, slots: Sequence[str]) -> Lexicon:
        """All values that the database has for some slots."""
        return cls(world, ((slot, value) for slot in slots for value in world.values(slot)))

    @classmethod
    def of_acts(cls, world: World, acts: Iterable[Act], slots: Sequence[str]) -> Lexicon:
        """The values that acts name for some slots."""
        return cls(world, ((act.slot, act.value) for act in acts if act.slot in slots))

    def delexicalise(self, text: str | Sequence[str]) -> Delexicalised:
        """A text, or its words, with placeholders for values."""
        words = self.world.words(text) if isinstance(text, str) else list(text)
        found, values, place = [], [], 0
        while place < len(words):
            slot, value, length = self._at(words, place)
            if slot is None:
                found.append(words[place])
            else:
                found.append(placeholder(slot))
                values.append((slot, value))
            place += length
        return Delexicalised(tuple(found), tuple(values))

    def _at(self, words, place):
        """(slot, value, number of words) of the longest phrase at a place; (None, "", 1) for none."""
        for length in self._lengths.get(words[place], ()):
            entry = self._phrases.get(tuple(words[place : place + length]))
            if entry is not None:
                return *entry, length
        return None, "", 1


def placeholder(slot: str) -> str:
    """The word that stands for a value.

    >>> placeholder("phone")
    '[phone]'
    """
    return f"[{slot}]"


def slots_in(words: Iterable[str]) -> list[str]:
    """The slots whose placeholders are among words, in order.

    >>> slots_in(["call", "[phone]", "."])
    ['phone']
    """
    return [word[1:-1] for word in words if len(word) > 2 and word[0] == "[" and word[-1] == "]"]


def lexicalise(words: Iterable[str], values: Mapping[str, str], world: World) -> list[str]:
    """Words with values instead of placeholders; a placeholder without a value stays.

    >>> lexicalise(["call", "[phone]"], {"phone": "01223 1"}, World("english", [], (), ()))
    ['call', '01223', '1']
    """
    found = []
    for word in words:
        slot = word[1:-1]
        known = word == placeholder(slot) and slot in values
        found.extend(world.words(str(values[slot])) if known else [word])
    return found
