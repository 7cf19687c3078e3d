"""How users say acts, and how systems ask and refuse, counted from the turns of a training set."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfalign.applications.dialogue.lexicon import Lexicon, placeholder, slots_in
from tfalign.applications.dialogue.records import DONTCARE, Act, DialogueRecord, Turn
from tfalign.applications.dialogue.world import World

BYE = Act("bye", "")
_MOST_WORDS = 24  # of a template
_NGRAMS = 4  # longest cue, words


class Key(NamedTuple):
    """What a template says."""

    acts: tuple[Act, ...]  # without values, but for "dontcare"; sorted
    is_first: bool  # whether it begins a dialogue


def said_acts(turn: Turn, informable: Sequence[str]) -> tuple[Act, ...]:
    """A user's acts without values, sorted: what a template of the turn says; BYE where there are none."""
    found = set()
    for act in turn.user_acts:
        if act.intent == "inform" and act.slot in informable:
            found.add(Act("inform", act.slot, DONTCARE if act.value == DONTCARE else ""))
        elif act.intent == "request" and act.slot:
            found.add(Act("request", act.slot))
    return tuple(sorted(found)) or (BYE,)


class Templates:
    """Says acts with words that users have used for them.

    Args:
        world: World.
        by_key: Key -> the delexicalised sentences for it.
        glue: words between two sentences, where no template says everything.

    >>> world = World("english", [], ("area",), ("phone",))
    >>> north = Key((Act("inform", "area"),), True)
    >>> templates = Templates(world, {north: [("in", "the", "[area]")]})
    >>> templates.say([Act("inform", "area", "north")], True, np.random.default_rng(0))
    ['in', 'the', 'north']
    """

    def __init__(
        self,
        world: World,
        by_key: Mapping[Key, Sequence[tuple[str, ...]]],
        glue: Sequence[str] = (",",),
    ) -> None:
        self.world = world
        self.by_key = dict(by_key)
        self.glue = list(glue)

    @classmethod
    def learn(cls, world: World, records: Iterable[DialogueRecord]) -> Templates:
        """The sentences of users in which all values of their acts, and no others, can be replaced."""
        found = collections.defaultdict(list)
        closed = [slot for slot in world.informable if slot not in world.open_slots]
        others = Lexicon.of_world(world, (*closed, *world.names))
        for record in records:
            for number, turn in enumerate(record.turns):
                acts = said_acts(turn, world.informable)
                own = Lexicon.of_acts(world, turn.user_acts, world.informable)
                words = own.delexicalise(turn.user).words
                wanted = sorted(
                    act.slot for act in acts if act.intent == "inform" and not act.value
                )
                is_whole = sorted(slots_in(words)) == wanted
                is_last = number == len(record.turns) - 1
                if not is_whole or others.delexicalise(words).values or len(words) > _MOST_WORDS:
                    continue
                if (acts == (BYE,)) == is_last:
                    found[Key(acts, number == 0)].append(words)
        return cls(world, found, ("，",) if world.language == "chinese" else (".",))

    def can_say(self, act: Act) -> bool:
        """Whether there is a sentence for an act alone."""
        return bool(self._sentences((act,), False))

    def say(self, acts: Sequence[Act], is_first: bool, numbers: np.random.Generator) -> list[str]:
        """Words for acts; where no template says them all, several in a row."""
        words = []
        for part in self._parts(acts, is_first):
            sentences = self._sentences(part, is_first and not words)
            chosen = sentences[int(numbers.integers(len(sentences)))]
            words += [*(self.glue if words and words[-1] not in ".?!。？！" else []), *chosen]
        values = {placeholder(act.slot): act.value for act in acts if act.intent == "inform"}
        return [
            word
            for token in words
            for word in (self.world.words(values[token]) if token in values else [token])
        ]

    def _parts(self, acts, is_first):
        """Acts in as few groups as there are templates for."""
        if self._sentences(acts, is_first):
            return [acts]
        if len(acts) == 1:
            raise ValueError(f"No user has ever said such an act. Received: {acts[0]}")
        for size in range(len(acts) - 1, 0, -1):
            if self._sentences(acts[:size], is_first):
                return [acts[:size], *self._parts(acts[size:], False)]
        raise ValueError(f"No user has ever said such an act. Received: {acts[0]}")

    def _sentences(self, acts, is_first):
        key = tuple(
            sorted(act._replace(value="") if act.value != DONTCARE else act for act in acts)
        )
        return self.by_key.get(Key(key, is_first)) or self.by_key.get(Key(key, not is_first)) or []


class ReplyReader:
    """What a system's reply asks for or refuses, told by phrases that do so in training.

    Args:
        cues: Act ("request" of a slot, or "nooffer") -> phrases, tuples of words.

    >>> reader = ReplyReader({Act("request", "area"): {("what", "part")}})
    >>> reader.acts("what part of town ?".split())
    [Act(intent='request', slot='area', value='')]
    """

    def __init__(self, cues: Mapping[Act, set[tuple[str, ...]]]) -> None:
        self.cues = dict(cues)

    @classmethod
    def learn(
        cls,
        world: World,
        replies: Iterable[tuple[Sequence[str], Iterable[Act]]],
        precision: float = 0.8,
        support: int = 3,
    ) -> ReplyReader:
        """Phrases of up to four words that occur often enough, and mostly with the act.

        Args:
            world: World.
            replies: delexicalised words of replies, and their acts.
            precision: float, the fraction of a phrase's replies that have the act.
            support: int, the replies in which it does.
        """
        counts, with_act = collections.Counter(), collections.defaultdict(collections.Counter)
        for words, acts in replies:
            phrases = set(_phrases(words))
            counts.update(phrases)
            for act in {_cued(act, world) for act in acts} - {None}:
                with_act[act].update(phrases)
        return cls(
            {
                act: {p for p, n in found.items() if n >= support and n >= precision * counts[p]}
                for act, found in sorted(with_act.items())
            }
        )

    def acts(self, words: Sequence[str]) -> list[Act]:
        """The acts of a reply, of those that cues are known for."""
        phrases = set(_phrases(words))
        return [act for act, cues in self.cues.items() if not phrases.isdisjoint(cues)]


def _cued(act, world):
    if act.intent.lower() in ("nooffer", "nobook"):
        return Act("nooffer", "")
    if act.intent.lower() == "request" and act.slot in world.informable:
        return Act("request", act.slot)
    return None


def _phrases(words):
    words = tuple(words)
    return (
        words[start : start + size]
        for size in range(1, _NGRAMS + 1)
        for start in range(len(words) - size + 1)
    )
