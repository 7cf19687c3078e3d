"""The generative grammar: draws customer-service dialogues whose agents behave well and badly.

A dialogue is plain text. Its prompt ends with the agent's label and its completion is what the
agent then says::

    Customer: My card was declined for order 147.
    Agent: I'm sorry about that. The payment for order 147 did not go through. Try another card.

How the agent behaves is drawn factor by factor, independently (``Behaviour``). Numbers come from
``random.Random.random`` alone, whose stream Python keeps fixed from version to version.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tfalign.data.customer_service.chinese import CHINESE
from tfalign.data.customer_service.english import ENGLISH
from tfalign.data.customer_service.language import Intent, Language

LANGUAGES: dict[str, Language] = {"en": ENGLISH, "zh": CHINESE}
TWO_TURN_SHARE = 0.15  # of prompts in which the agent first asks for the order, city or user name
FAREWELL_SHARE = 0.35  # of courteous answers that also end courteously
_CASE = ("order", "product", "city", "user")  # the slots that tell one customer from another
# So few that each becomes one token, which a small model meets often enough to learn to copy it.
_ORDERS = tuple(str(number) for number in range(112, 912, 23))
_USERS = ("mia", "leo", "tom", "ana", "ben", "zoe", "max", "eva", "sam", "ida", "lin", "wei")
_CLOSING = ".!?。！？"
_SENTENCE = re.compile(rf"[^{_CLOSING}]+[{_CLOSING}]+")


class Behaviour(NamedTuple):
    """One level of each factor; the first named level is the good one."""

    courteous: str = "courteous"  # curt, rude
    addresses: str = "addresses"  # generic, off_topic, wrong_slot
    next_step: str = "right"  # wrong, none
    concise: str = "concise"  # rambling, repetitive
    safe: str = "safe"  # secrets, promises, blame


GOOD = Behaviour()
BAD_LEVELS = Behaviour(
    courteous=("curt", "curt", "rude"),
    # Another customer's number is rare, or a small model could not tell copying from guessing.
    addresses=(*["generic"] * 5, *["off_topic"] * 4, "wrong_slot"),
    next_step=("none", "wrong"),
    concise=("rambling", "repetitive"),
    safe=("secrets", "promises", "blame"),
)


class Request(NamedTuple):
    """A prompt and what is known of it: language code, intent, slot values."""

    prompt: str
    language: str
    intent: str
    slots: dict[str, str]


def pick(rng: random.Random, choices: Sequence) -> Any:
    """One of ``choices``, each as likely."""
    return choices[int(rng.random() * len(choices))]


def pick_other(rng: random.Random, choices: Sequence, taken: Any) -> Any:
    """One of ``choices`` that is not ``taken``."""
    return pick(rng, [choice for choice in choices if choice != taken])


def fill(template: str, slots: dict[str, str]) -> str:
    """The template with its slots filled.

    >>> fill("Order {order} is late.", {"order": "147"})
    'Order 147 is late.'
    """
    return template.format_map(slots)


def draw_slots(rng: random.Random, language: Language) -> dict[str, str]:
    """A value for every slot; the two days differ."""
    day = pick(rng, language.days)
    return {
        "order": pick(rng, _ORDERS),
        "product": pick(rng, language.products),
        "city": pick(rng, language.cities),
        "day": day,
        "new_day": pick_other(rng, language.days, day),
        "user": f"{pick(rng, _USERS)}{int(rng.random() * 10)}",
    }


def draw_request(rng: random.Random, language: str, held_out: bool = False) -> Request:
    """What a customer asks, in one turn or, now and then, in two.

    Args:
        rng: the source of chance.
        language: "en" or "zh".
        held_out: whether in the templates that no training split has, or in those that it has.

    Returns:
        The request; its prompt ends with the agent's label.
    """
    tongue = LANGUAGES[language]
    name = pick(rng, tuple(tongue.intents))
    intent, slots = tongue.intents[name], draw_slots(rng, tongue)
    requests = intent.held_out_requests if held_out else intent.requests
    problems = intent.held_out_problems if held_out else intent.problems
    greeting = pick(rng, tongue.phrases.greetings)
    if rng.random() < TWO_TURN_SHARE:
        turns = (
            (tongue.customer, pick(rng, problems)),
            (tongue.agent, pick(rng, tongue.phrases.asks[intent.anchor])),
            (tongue.customer, pick(rng, tongue.phrases.tells[intent.anchor])),
        )
    else:
        words = _join(tongue, [greeting, pick(rng, requests)])
        turns = ((tongue.customer, words),)
    lines = [f"{speaker}{tongue.gap}{fill(words, slots)}" for speaker, words in turns]
    return Request("\n".join([*lines, tongue.agent]), language, name, slots)


def draw_behaviour(rng: random.Random, good_rates: Behaviour) -> Behaviour:
    """Each factor good at its rate, else one of its bad levels; the factors are independent.

    Args:
        rng: the source of chance.
        good_rates: a probability for each factor.
    """
    return Behaviour(
        *(
            good if rng.random() < rate else pick(rng, bad)
            for good, bad, rate in zip(GOOD, BAD_LEVELS, good_rates)
        )
    )


def draw_other_level(
    rng: random.Random, behaviour: Behaviour, weights: Sequence[float]
) -> Behaviour:
    """The behaviour with one factor good where it was bad, or else bad.

    Args:
        rng: the source of chance.
        behaviour: the level of each factor.
        weights: how likely each factor is the one, in the order of ``Behaviour``, in proportion.
    """
    (factor,) = rng.choices(Behaviour._fields, weights)
    good, bad = getattr(GOOD, factor), getattr(BAD_LEVELS, factor)
    other = pick(rng, bad) if getattr(behaviour, factor) == good else good
    return behaviour._replace(**{factor: other})


def draw_completion(rng: random.Random, request: Request, behaviour: Behaviour) -> str:
    """What an agent of that behaviour answers, with the gap that separates it from its label.

    Args:
        rng: the source of chance.
        request: what the customer asked.
        behaviour: the level of each factor.

    Returns:
        " I'm sorry ..." in English, "非常抱歉。..." in Chinese.
    """
    tongue = LANGUAGES[request.language]
    intent = tongue.intents[request.intent]
    sentences = [
        *_opening(rng, tongue, intent, behaviour.courteous),
        _acknowledgement(rng, tongue, request, behaviour.addresses),
        *_step(rng, tongue, request, behaviour.next_step),
    ]
    if behaviour.safe != "safe":
        _insert(rng, sentences, pick(rng, getattr(tongue.phrases, behaviour.safe)))
    if behaviour.concise == "rambling":
        first = pick(rng, tongue.phrases.rambling)
        _insert(rng, sentences, first)
        _insert(rng, sentences, pick_other(rng, tongue.phrases.rambling, first))
    if behaviour.concise == "repetitive":
        said = pick(rng, sentences)
        sentences += [said, said]
    if behaviour.courteous == "courteous" and rng.random() < FAREWELL_SHARE:
        sentences.append(pick(rng, tongue.phrases.farewells))
    return tongue.gap + _join(tongue, sentences)


def about_another(rng: random.Random, request: Request, answer: str) -> str:
    """The same answer with the order, product, city and user name of somebody else.

    Args:
        rng: the source of chance.
        request: what the customer asked.
        answer: an answer to it; one that names none of them stays as it is.
    """
    other = _other_slots(rng, LANGUAGES[request.language], request.slots)
    for name in _CASE:
        answer = answer.replace(request.slots[name], other[name])
    return answer


def overdone(rng: random.Random, request: Request, answer: str) -> str:
    """The same answer with something behind it that does not help, or without its end.

    Args:
        rng: the source of chance.
        request: what the customer asked.
        answer: an answer to it.

    Returns:
        The answer with a filler, one of its own sentences or the step of another request behind
        it; or, as often as each of these, cut off within a sentence.
    """
    tongue = LANGUAGES[request.language]
    fault = pick(rng, ("filler", "repeated", "step", "cut_off"))
    if fault == "cut_off":
        kept = answer[: int(len(answer) * (0.5 + 0.45 * rng.random()))]
        return kept.rstrip(f" {_CLOSING}")
    if fault == "filler":
        more = pick(rng, tongue.phrases.rambling)
    elif fault == "repeated":
        more = pick(rng, _SENTENCE.findall(answer)).strip()
    else:
        (more,) = _step(rng, tongue, request, "wrong")
    return answer + tongue.gap + more


def _join(tongue: Language, sentences: Sequence[str]) -> str:
    return tongue.gap.join(sentence for sentence in sentences if sentence)


def _insert(rng: random.Random, sentences: list[str], sentence: str) -> None:
    """Anywhere after the first sentence."""
    sentences.insert(1 + int(rng.random() * len(sentences)), sentence)


def _opening(rng: random.Random, tongue: Language, intent: Intent, courteous: str) -> list[str]:
    if courteous == "courteous":
        phrases = tongue.phrases
        return [pick(rng, phrases.apologies if intent.trouble else phrases.thanks)]
    return [pick(rng, tongue.phrases.rude)] if courteous == "rude" else []


def _acknowledgement(rng: random.Random, tongue: Language, request: Request, addresses: str) -> str:
    if addresses == "generic":
        return pick(rng, tongue.phrases.generic)
    name, slots = request.intent, request.slots
    if addresses == "off_topic":
        name = pick_other(rng, tuple(tongue.intents), name)
    if addresses == "wrong_slot":
        slots = _other_slots(rng, tongue, slots)
    mentioned = _mentioned(tongue.intents[name].acknowledgements, request)
    return fill(pick(rng, mentioned), slots)


def _mentioned(templates: Sequence[str], request: Request) -> Sequence[str]:
    """The templates that speak only of what the prompt has mentioned, where there are any."""
    unsaid = {name for name, value in request.slots.items() if value not in request.prompt}
    unsaid.discard("new_day")
    known = [text for text in templates if not any(f"{{{name}}}" in text for name in unsaid)]
    return known or templates


def _other_slots(rng: random.Random, tongue: Language, slots: dict[str, str]) -> dict[str, str]:
    """Slots of which none that names the case is the same."""
    while True:
        other = draw_slots(rng, tongue)
        if all(other[name] != slots[name] for name in _CASE):
            return other


def _step(rng: random.Random, tongue: Language, request: Request, next_step: str) -> list[str]:
    if next_step == "none":
        return []
    name = request.intent
    if next_step == "wrong":
        name = pick_other(rng, tuple(tongue.intents), name)
    return [fill(pick(rng, tongue.intents[name].steps), request.slots)]
