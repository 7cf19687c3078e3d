"""Which slots of a brief a text tells rightly, which it misses, and what it claims beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tfalign.applications.content.briefs import Brief


class SlotErrors(NamedTuple):
    """How a text keeps to a brief; counts of slots."""

    slots: int  # of the brief
    missing: int  # said nothing of
    wrong: int  # said, with another value
    added: int  # claims that the brief does not make

    @property
    def rate(self) -> float:
        """Slot error rate (Wen et al. 2015; Dušek et al. 2019): errors of the three kinds per slot of the brief."""
        return (self.missing + self.wrong + self.added) / self.slots

    @property
    def coverage(self) -> float:
        """Fraction of the brief's slots that are told rightly."""
        return 1.0 - (self.missing + self.wrong) / self.slots


class Mention(NamedTuple):
    """A place in a text that tells a slot."""

    start: int
    end: int
    values: frozenset[str]  # what it may mean


class SlotChecker:
    """Finds slots in texts by regular expressions.

    Args:
        patterns: slot -> expressions, each with the values that it may mean.
        literal: slots whose value must stand in the text as it is; nothing beside the brief is claimed by them.
        polar: slot -> function of a text that gives its Mentions, for what no single expression tells.
        separated: whether words stand apart, so that an expression matches whole ones; not in Chinese.

    >>> colours = SlotChecker({"colour": {"red|crimson": ("red",), "blue": ("blue",)}}, literal=("name",))
    >>> brief = Brief((("name", "Ann"), ("colour", "red")))
    >>> colours(brief, "Ann wears crimson.")
    SlotErrors(slots=2, missing=0, wrong=0, added=0)
    >>> colours(brief, "A blue one.")
    SlotErrors(slots=2, missing=1, wrong=1, added=0)
    """

    def __init__(
        self,
        patterns: Mapping[str, Mapping[str, Iterable[str]]],
        literal: Iterable[str] = (),
        polar: Mapping[str, Callable[[str], list[Mention]]] | None = None,
        separated: bool = True,
    ) -> None:
        edge = r"\b" if separated else ""
        self._patterns = {
            slot: [
                (re.compile(rf"{edge}(?:{pattern}){edge}", re.IGNORECASE), frozenset(values))
                for pattern, values in expressions.items()
            ]
            for slot, expressions in patterns.items()
        }
        self._literal = frozenset(literal)
        self._polar = dict(polar or {})

    def mentions(self, slot: str, text: str) -> list[Mention]:
        """Where a text tells a slot; a place within another of the same slot does not count."""
        if slot in self._polar:
            return self._polar[slot](text)
        found = [
            Mention(*match.span(), values)
            for pattern, values in self._patterns.get(slot, ())
            for match in pattern.finditer(text)
        ]
        return [one for one in found if not any(_within(one, other) for other in found)]

    def __call__(self, brief: Brief, text: str) -> SlotErrors:
        """Errors of a text.

        Args:
            brief: Brief.
            text: str.

        Returns:
            SlotErrors. A value that contradicts one that is told rightly is an added claim.
        """
        missing = wrong = added = 0
        for name, value in brief.slots:
            if name in self._literal or not self._knows(name):
                missing += value.casefold() not in text.casefold()
                continue
            meant = [value in mention.values for mention in self.mentions(name, text)]
            missing += not meant
            wrong += bool(meant) and not any(meant)
            added += any(meant) and not all(meant)
        told = {name for name, _ in brief.slots}
        for name in (self._patterns.keys() | self._polar.keys()) - told:
            added += bool(self.mentions(name, text))
        return SlotErrors(len(brief.slots), missing, wrong, added)

    def _knows(self, slot):
        return slot in self._patterns or slot in self._polar


def _within(one, other):
    is_inside = other.start <= one.start and one.end <= other.end
    return is_inside and other.end - other.start > one.end - one.start
