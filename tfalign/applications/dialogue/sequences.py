"""Dialogues as conversations that a language model learns: the system's beliefs and replies are its turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tfalign.applications.dialogue.belief import write_belief
from tfalign.applications.dialogue.environment import Memory, database_message, user_message
from tfalign.applications.dialogue.lexicon import Lexicon, placeholder
from tfalign.applications.dialogue.records import DONTCARE, DialogueRecord, Turn
from tfalign.applications.dialogue.templates import ReplyReader
from tfalign.applications.dialogue.world import World, count_word
from tfalign.text import Tokenizer, train_words

_SPECIAL = {"pad": "<pad>", "eos": "<eos>", "unk": "<unk>"}
_TEMPLATE = (
    "{% for message in messages %}{{ message.content }}"
    "{% if message.role == 'assistant' %}<eos>{% else %} {% endif %}{% endfor %}"
)
_TRIES = 20  # to find other values with which the database finds as many


class Writer:
    """Writes dialogues as conversations.

    Args:
        world: World.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._slots = tuple(dict.fromkeys((*world.names, *world.requestable, *world.informable)))
        vague = set(world.open_slots) - set(world.names)  # a dish may be any word
        self._lexicon = Lexicon.of_world(world, [s for s in self._slots if s not in vague])
        self._open = Lexicon.of_world(world, world.open_slots)

    def reply(self, turn: Turn) -> tuple[str, ...]:
        """A reply's words with placeholders for values: those its acts name, of the belief, and of the database."""
        acts = [(act.slot, act.value) for act in turn.reply_acts if act.slot in self._slots]
        named = Lexicon(self.world, [*acts, *turn.belief.items()])
        words = self._lexicon.delexicalise(named.delexicalise(turn.reply).words).words
        return _each_once(words)

    def messages(self, record: DialogueRecord) -> list[dict[str, str]]:
        """The conversation of a dialogue: [{"role": ..., "content": ...}]."""
        memory, found = Memory(self.world, self._open), []
        for turn in record.turns:
            words = memory.hear(self.world.words(turn.user))
            count = len(self.world.matching(memory.resolve(turn.belief)))
            belief = {
                slot: placeholder(slot) if slot in self.world.open_slots and v != DONTCARE else v
                for slot, v in turn.belief.items()
            }
            found += [
                ("user", user_message(words)),
                ("assistant", write_belief(belief, self.world)),
                ("user", database_message(count)),
                ("assistant", " ".join(self.reply(turn))),
            ]
        return [{"role": role, "content": content} for role, content in found]

    def reader(self, records: Iterable[DialogueRecord]) -> ReplyReader:
        """A ReplyReader of these dialogues."""
        replies = [(self.reply(turn), turn.reply_acts) for one in records for turn in one.turns]
        return ReplyReader.learn(self.world, replies)


def _each_once(words):
    """Words in which an enumeration of equal placeholders, "[x], [x] and [x]", is one of them."""
    found = []
    for word in words:
        if word[0] == "[" and word in found[-2:]:
            del found[len(found) - found[::-1].index(word) :]
        else:
            found.append(word)
    return tuple(found)


def make_tokenizer(world: World, texts: Iterable[str]) -> Tokenizer:
    """The closed vocabulary of a world and of texts, with the chat template of dialogues.

    Args:
        world: World, whose slots' values are in it.
        texts: words separated by spaces.
    """
    values = [
        " ".join(world.words(value))
        for slot in world.informable
        if slot not in world.open_slots
        for value in (*world.values(slot), DONTCARE)
    ]
    marks = [write_belief(dict.fromkeys(world.informable, DONTCARE), world)]
    marks += [count_word(count) for count in range(4)]
    plain = train_words([*texts, *values, *marks], special_tokens=_SPECIAL)
    return Tokenizer(plain.core, plain.special_tokens, _TEMPLATE)


def varied(
    record: DialogueRecord,
    world: World,
    values: dict[str, Sequence[str]],
    seed: int | Sequence[int],
) -> DialogueRecord:
    """A dialogue with other values of its closed slots, in the user's words and in beliefs alike.

    The database finds as many entities in each turn as before, so that the replies stay right.

    Args:
        record: DialogueRecord.
        world: World.
        values: slot -> the values to choose among.
        seed: of the choice.

    Returns:
        DialogueRecord; the same where no other values were found.
    """
    numbers = np.random.default_rng(seed)
    known = _verbatim(record, world)
    counts = _counts(record, world)
    for _ in range(_TRIES if known else 0):
        changes = {pair: str(numbers.choice(values[pair[0]])) for pair in known}
        other = _changed(record, world, changes)
        if _counts(other, world) == counts:
            return other
    return record


def _verbatim(record, world):
    """The (slot, value) pairs of closed slots that the user's words have before a belief does."""
    pairs = {pair for turn in record.turns for pair in turn.belief.items()}
    pairs = {pair for pair in pairs if pair[1] != DONTCARE and pair[0] not in world.open_slots}
    lexicon, said, silent = Lexicon(world, sorted(pairs)), set(), set()
    for turn in record.turns:
        said |= set(lexicon.delexicalise(turn.user).values)
        silent |= {pair for pair in turn.belief.items() if pair not in said}
    return sorted(pairs - silent)


def _changed(record, world, changes):
    """The record with (slot, value) -> value changed."""
    lexicon, turns = Lexicon(world, changes), []
    for turn in record.turns:
        found = lexicon.delexicalise(turn.user)
        fresh = iter(found.values)
        marks = {placeholder(slot) for slot, _ in found.values}
        words = [
            word
            for token in found.words
            for word in (world.words(changes[next(fresh)]) if token in marks else [token])
        ]
        belief = {slot: changes.get((slot, v), v) for slot, v in turn.belief.items()}
        turns.append(turn._replace(user=" ".join(words), belief=belief))
    return DialogueRecord(record.goal, tuple(turns), record.source)


def _counts(record, world):
    return [count_word(len(world.matching(turn.belief))) for turn in record.turns]
