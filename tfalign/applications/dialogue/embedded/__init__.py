"""A tiny world that needs no data: restaurants, and dialogues of people who serve with mistakes, in two languages."""

from __future__ import annotations

import itertools

import numpy as np

from tfalign.applications.dialogue.agenda import AgendaUser
from tfalign.applications.dialogue.embedded.chinese import PHRASES as CHINESE
from tfalign.applications.dialogue.embedded.english import PHRASES as ENGLISH
from tfalign.applications.dialogue.goals import drawn_goals
from tfalign.applications.dialogue.lexicon import lexicalise, slots_in
from tfalign.applications.dialogue.records import DONTCARE, Act, DialogueRecord, Turn
from tfalign.applications.dialogue.templates import BYE, Key, ReplyReader, Templates
from tfalign.applications.dialogue.users import Heard
from tfalign.applications.dialogue.world import World

LANGUAGES = {"english": ENGLISH, "chinese": CHINESE}
_INFORMABLE = ("food", "area", "pricerange")
_TELLING = ("phone", "address", "postcode")
_ENTITIES = 60
_MOST_TURNS = 8
_SLIPS = 0.35  # fraction of questions that whoever serves answers badly


def embedded_world(language: str) -> World:
    """The restaurants of a language.

    Raises:
        ValueError: if there are none in it.

    >>> embedded_world("english").rows[0]["name"]
    'Blue Door'
    """
    phrases = _phrases(language)
    numbers = np.random.default_rng(7)
    rows = []
    for number in range(_ENTITIES):
        name = phrases.names[number % len(phrases.names)]
        place = number // len(phrases.names)
        street = str(numbers.choice(phrases.streets))
        row = {slot: str(numbers.choice(values)) for slot, values in phrases.values.items()}
        row["name"] = name if not place else f"{name} {place + 1}"
        row["phone"] = phrases.phone.format(number=300100 + 37 * number)
        row["address"] = phrases.address.format(street=street, number=3 + 2 * number)
        row["postcode"] = phrases.postcode.format(number=101 + number)
        rows.append(row)
    return World(phrases.language, rows, _INFORMABLE, (*_TELLING, *_INFORMABLE))


def embedded_templates(world: World) -> Templates:
    """What the users of an embedded world say."""
    phrases, found = LANGUAGES[world.language], {}
    for count in range(1, len(_INFORMABLE) + 1):
        for slots in itertools.combinations(_INFORMABLE, count):
            key = Key(tuple(sorted(Act("inform", slot) for slot in slots)), True)
            wishes = itertools.product(*(phrases.wishes[slot] for slot in slots))
            joint = "、" if world.language == "chinese" else " "
            said = itertools.product(phrases.begin, map(joint.join, wishes))
            found[key] = [tuple(world.words(one.format(wish=wish))) for one, wish in said]
    for slot in _INFORMABLE:
        found[_later(Act("inform", slot))] = _words(world, phrases.later[slot])
        found[_later(Act("inform", slot, DONTCARE))] = _words(world, phrases.dontcare[slot])
    for slot in _TELLING:
        found[_later(Act("request", slot))] = _words(world, phrases.ask[slot])
    found[_later(BYE)] = _words(world, phrases.bye)
    return Templates(world, found, ())


def embedded_dialogues(world: World, count: int, seed: int) -> list[DialogueRecord]:
    """Dialogues of users with agendas and people who serve them, now and then badly.

    Args:
        world: of ``embedded_world``.
        count: int.
        seed: int; another gives other dialogues.
    """
    phrases, templates = LANGUAGES[world.language], embedded_templates(world)
    values = {slot: list(phrases.values[slot]) for slot in _INFORMABLE}
    values["food"] += phrases.absent
    reader = embedded_reader(world)
    goals = drawn_goals(world, values, count, seed)
    return [
        _dialogue(world, AgendaUser(goal, world, templates, reader, [seed, number]), number, seed)
        for number, goal in enumerate(goals)
    ]


def embedded_reader(world: World) -> ReplyReader:
    """What the replies of an embedded world ask for or refuse, by their whole sentences' beginnings."""
    phrases = LANGUAGES[world.language]
    cues = {Act("request", slot): phrases.request[slot] for slot in _INFORMABLE}
    cues[Act("nooffer", "")] = phrases.none
    return ReplyReader({act: {words[:4] for words in _words(world, s)} for act, s in cues.items()})


def _phrases(language):
    if language not in LANGUAGES:
        raise ValueError(
            f"The embedded world speaks {' and '.join(LANGUAGES)}. Received: {language!r}"
        )
    return LANGUAGES[language]


def _later(act):
    return Key((act,), False)


def _words(world, sentences):
    return [tuple(world.words(sentence)) for sentence in sentences]


def _dialogue(world, user, number, seed):
    """The DialogueRecord of a user and a person who serves."""
    numbers = np.random.default_rng([seed, number, 1])
    answer, belief, turns, entity = user.begin(), {}, [], None
    while len(turns) < _MOST_TURNS:
        belief |= {act.slot: act.value for act in answer.acts if act.intent == "inform"}
        matches = world.matching(belief)
        words, acts = _served(world, answer, belief, matches, entity, numbers)
        named = matches[0] if matches and "name" in slots_in(words) else None
        entity = entity if named is None else named
        row = {} if entity is None else world.rows[entity]
        reply = world.text(lexicalise(words, dict(belief) | dict(row), world))
        said = tuple(act._replace(value=str(row.get(act.slot, act.value))) for act in acts)
        turns.append(Turn(world.text(answer.words), dict(belief), reply, answer.acts, said))
        if answer.acts == (BYE,):
            break
        answer = user.hear(Heard(tuple(words), named, len(matches)))
    return DialogueRecord(user.goal, tuple(turns), f"embedded:{seed}:{number}")


def _served(world, answer, belief, matches, entity, numbers):
    """(words, acts) of a reply: what a person says who slips now and then."""
    phrases = LANGUAGES[world.language]

    def one(sentences):
        return world.words(str(numbers.choice(list(sentences))))

    if answer.acts == (BYE,):
        return one(phrases.welcome), ()
    asked = [act.slot for act in answer.acts if act.intent == "request"]
    slips = numbers.random() < _SLIPS
    if asked and entity is not None:
        if slips:
            others = [slot for slot in _TELLING if slot not in asked]
            asked = asked[1:] or others[:1]
        told = [word for slot in asked for word in one(phrases.tell[slot])]
        return told, tuple(Act("inform", slot) for slot in asked)
    if not matches:
        return one(phrases.none), (Act("nooffer", ""),)
    open_slots = [slot for slot in _INFORMABLE if slot not in belief]
    if open_slots and (slips or (len(matches) > 2 and numbers.random() < 0.5)):
        slot = str(numbers.choice(open_slots))
        return one(phrases.request[slot]), (Act("request", slot),)
    words = one(phrases.offer)
    return words, tuple(Act("inform", slot) for slot in slots_in(words))
