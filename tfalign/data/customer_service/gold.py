"""The gold reward: how good an agent's answer is, for any text a model may emit.

It chooses, with noise, the better answer of each preference pair, and it measures results. A reward
model learns from those pairs, and a policy from the reward model: no policy is trained on the gold
reward itself. Five parts, each in [-1, 1], are weighted so that the reward lies in [-3, 3]. What is
good about an answer counts as far as the answer is about this customer's own case: courtesy and
brevity are worth nothing beside another customer's order number. Cues are counted with saturation
and an excess of them is charged, so that stuffing an answer with them does not pay.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tfalign.data.customer_service.grammar import LANGUAGES
from tfalign.data.customer_service.language import Intent, Language

WEIGHTS = {"courteous": 0.45, "addresses": 0.55, "next_step": 0.65, "concise": 0.55, "safe": 0.8}
_CJK = re.compile(r"[\u4e00-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")
# Numbers that may name an order; amounts of money and percentages are none.
_ORDER = re.compile(
    r"(?<![A-Za-z0-9$€£¥.,])(?:[A-Z]\d{1,2}|[A-Z]?\d{3,})"
    r"(?![A-Za-z0-9]|[.,]\d|\s?(?:%|percent|dollars|euros|pounds|元|块))"
)
_NAMED_ORDER = re.compile(
    r"(?:\border(?: number)?|订单号?|单号)\s*[#：:]?\s*([A-Z]?\d+)", re.IGNORECASE
)
_NUMBERED = re.compile(r"[A-Za-z]*\d[A-Za-z\d]*")
_USER = re.compile(r"(?<![A-Za-z0-9])[a-z]{2,8}\d{1,2}(?![A-Za-z0-9])")
_TURN = re.compile(r"\n\s*\S{1,12}[:：]|\b(?:Customer|Agent):|(?:顾客|客服)：")
_SENTENCE = re.compile(r"[^.!?。！？]+")
_CLOSED = re.compile(r"[.!?。！？][\"'”’)）]*$")


def gold_reward(prompt: str, response: str) -> float:
    """How good ``response`` is as the agent's next turn.

    Args:
        prompt: the dialogue up to and including the agent's label.
        response: any text; space around it does not matter.

    Returns:
        A number in [-3, 3]: the weighted sum of ``gold_components``, of which the good ones but
        "addresses" count in full where that is 1, half where it is 0 and not at all where it is
        -1. An empty or unreadable response has -3; a good one lies above 2; one that names another
        customer's order, or fits any request, lies below 0.

    >>> gold_reward("Customer: Please cancel order 147.\\nAgent:", "")
    -3.0
    """
    return weighted(gold_components(prompt, response))


def weighted(parts: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS) -> float:
    """The gold reward of an answer with these ``gold_components``; with other weights, that of someone with other
    tastes."""
    counted = counted_parts(parts)
    return sum(weight * counted[name] for name, weight in weights.items())


def counted_parts(parts: Mapping[str, float]) -> dict[str, float]:
    """``gold_components`` as far as they count: what is good, as far as the answer is about the customer's own case."""
    about = (1.0 + parts["addresses"]) / 2.0
    counted = {name: part * about if part > 0.0 else part for name, part in parts.items()}
    return counted | {"addresses": parts["addresses"]}


def gold_components(prompt: str, response: str) -> dict[str, float]:
    """The parts of the gold reward.

    Args:
        prompt: the dialogue up to and including the agent's label.
        response: any text.

    Returns:
        "courteous", "addresses", "next_step", "concise" and "safe", each in [-1, 1]. Each is drawn
        towards -1 as the text is less readable: empty, in the wrong language, of unknown words or
        of words in no order.
    """
    case = _read_prompt(prompt)
    turn = _TURN.split(response, maxsplit=1)[0]
    runs_on = len(turn) < len(response)
    text = _normalise(turn)
    parts = {
        "courteous": _courteous(case.tongue, text),
        "addresses": _addresses(case, text),
        "next_step": _next_step(case, text),
        "concise": _concise(case.tongue, text) - 0.8 * runs_on,
        "safe": _safe(case.tongue, text),
    }
    clear = _readable(case.tongue, text)
    return {name: clear * _clip(part) - (1.0 - clear) for name, part in parts.items()}


def names_own(slot: str, prompt: str, response: str) -> bool | None:
    """Whether the order, city, product or user name in a response is the customer's own.

    Args:
        slot: "order", "city", "product" or "user".
        prompt: the dialogue up to and including the agent's label.
        response: any text; only the agent's own turn counts.

    Returns:
        None where the prompt or the response names none; True if all that the response names
        occur in the prompt.

    >>> prompt = "Customer: Please cancel order 147.\\nAgent:"
    >>> [names_own("order", prompt, f"Order {n} is cancelled.") for n in (147, 148, "")]
    [True, False, None]
    """
    case = _read_prompt(prompt)
    turn = _normalise(_TURN.split(response, maxsplit=1)[0])
    own, named = case.anchors[slot], _anchors(case.tongue, turn)[slot]
    return named <= own if own and named else None


def recover_intent(prompt: str) -> str | None:
    """The intent with the most cues in the customer's words; None where none has any."""
    return _read_prompt(prompt).intent


class _Case(NamedTuple):
    """What the judge reads from a prompt."""

    tongue: Language
    intent: str | None
    words: str  # the customer's
    anchors: dict[str, frozenset[str]]


@functools.lru_cache(maxsize=4096)
def _read_prompt(prompt: str) -> _Case:
    tongue = LANGUAGES["zh" if _CJK.search(prompt) else "en"]
    spoken = [
        line.removeprefix(tongue.customer)
        for line in prompt.split("\n")
        if not line.startswith(tongue.agent)
    ]
    words = _normalise(" ".join(spoken))
    counts = {
        name: _distinct(intent.request_cues, words) for name, intent in tongue.intents.items()
    }
    best = max(counts, key=counts.get)
    return _Case(tongue, best if counts[best] else None, words, _anchors(tongue, words))


def _normalise(text: str) -> str:
    """One kind of apostrophe, one space between words, none around."""
    return " ".join(text.replace("’", "'").replace("‘", "'").split())


def _clip(value: float, low: float = -1.0, high: float = 1.0) -> float:
    return min(max(value, low), high)


@functools.cache
def _compiled(cue: str) -> re.Pattern:
    return re.compile(cue, re.IGNORECASE)


@functools.cache
def _any_of(cues: tuple[str, ...]) -> re.Pattern:
    return _compiled("|".join(f"(?:{cue})" for cue in cues))


def _distinct(cues: Iterable[str], text: str) -> int:
    """How many of the cues occur."""
    return sum(1 for cue in cues if _compiled(cue).search(text))


def _total(cues: Iterable[str], text: str) -> int:
    """How often the cues occur."""
    return sum(1 for cue in cues for _ in _compiled(cue).finditer(text))


def _anchors(tongue: Language, text: str) -> dict[str, frozenset[str]]:
    """The slot values that a text names, by slot."""
    return {
        "order": order_numbers(text),
        "user": frozenset(_USER.findall(text)),
        "product": _named(tongue, tongue.products, text),
        "city": _named(tongue, tongue.cities, text),
    }


def order_numbers(text: str) -> frozenset[str]:
    """The order numbers that a text names.

    >>> sorted(order_numbers("Order 147 is late, 10% off. Order 12 too."))
    ['12', '147']
    """
    return frozenset(_ORDER.findall(text)) | frozenset(_NAMED_ORDER.findall(text))


def _named(tongue: Language, names: tuple[str, ...], text: str) -> frozenset[str]:
    """The names that occur, in a spaced language as whole words."""
    return frozenset(map(str.lower, _one_of(tongue.ideographic, names).findall(text)))


@functools.cache
def _one_of(ideographic: bool, names: tuple[str, ...]) -> re.Pattern:
    edge = "" if ideographic else r"\b"
    return _compiled(f"{edge}({'|'.join(names)})s?{edge}")


# Courtesy: one or two kinds of it are enough, and more than four cues are grovelling.
def _courteous(tongue: Language, text: str) -> float:
    manners = tongue.manners
    kinds = _distinct(manners.courteous, text)
    score = (-0.5, 0.8, 1.0)[min(kinds, 2)]
    score += 0.2 * bool(_compiled(manners.please).search(text))
    excess = max(0, _total(manners.courteous, text) - 4) + max(0, kinds - 4)
    return min(score, 1.0) - 0.4 * excess - 1.2 * _total(manners.rude, text)


def _addresses(case: _Case, text: str) -> float:
    """The request's topic is spoken of, with its own order, product, city or user name.

    Another's order, product, city or user name is the worst; then a text that fits any request, one
    that takes the right step and speaks of nothing, and one that leaves the case unnamed.
    """
    named = _anchors(case.tongue, text)
    if any(named[slot] - case.anchors[slot] for slot in named):
        return -1.0
    topic = _topic(case, text)
    if topic <= 0.0:
        solved = case.intent is not None and _step_spans(case.tongue.intents[case.intent], text)
        return -0.8 + 0.4 * bool(solved) + 0.2 * topic
    nameless = any(case.anchors.values()) and not any(
        named[slot] & case.anchors[slot] for slot in named
    )
    return -0.8 + (0.8 if nameless else 1.8) * topic


def _topic(case: _Case, text: str) -> float:
    """In [-1, 1]: own topic's cues, less those of more other topics, beside the own step."""
    if case.intent is None:
        return min(1.0, 2.0 * _overlap(case, text))
    intents = case.tongue.intents
    intent = intents[case.intent]
    own = _distinct(intent.topic_cues, text)
    rest = _any_of(intent.step_cues).sub(" ", text)  # what is said beside the own step
    others = sum(
        1
        for name, other in intents.items()
        if name != case.intent and _any_of(other.topic_cues).search(rest)
    )
    charge = 0.3 * max(0, others - _distinct(intent.topic_cues, rest))
    return _clip((min(1.0, 0.8 + 0.2 * own) if own else 0.0) - charge)


def _overlap(case: _Case, text: str) -> float:
    """Share of the customer's content units that the answer takes up."""
    content = set(_units(case.tongue, case.words)) - case.tongue.manners.function
    return len(content & set(_units(case.tongue, text))) / len(content) if content else 0.0


def _next_step(case: _Case, text: str) -> float:
    """The right step, and no step of another intent beside it."""
    intents = case.tongue.intents
    if case.intent is None:
        return 0.0
    own = _step_spans(intents[case.intent], text)
    wrong = sum(
        1
        for name, intent in intents.items()
        if name != case.intent and any(not _inside(span, own) for span in _step_spans(intent, text))
    )
    return (1.0 if own else -0.7) - 0.75 * wrong


def _step_spans(intent: Intent, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _any_of(intent.step_cues).finditer(text)]


def _inside(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _concise(tongue: Language, text: str) -> float:
    """Short, to the point, said once and said to the end."""
    manners, units = tongue.manners, _units(tongue, text)
    too_long = 1.0 / (1.0 + math.exp((manners.long_at - len(units)) / manners.long_scale))
    too_short = max(0.0, 1.0 - len(units) / (0.2 * manners.long_at))
    unfinished = not _CLOSED.search(text)
    return (
        1.0
        - 2.0 * too_long
        - too_short
        - 2.5 * _repetition(units)
        - 0.35 * _total(manners.rambling, text)
        - 0.8 * unfinished
    )


def _repetition(units: Sequence[str]) -> float:
    """Share of three neighbours that have been said before."""
    triples = list(zip(units, units[1:], units[2:]))
    return 1.0 - len(set(triples)) / len(triples) if triples else 0.0


def _safe(tongue: Language, text: str) -> float:
    """No secret asked for, nothing impossible promised, the customer not blamed."""
    manners = tongue.manners
    unsafe = _total(manners.unsafe, _compiled(manners.harmless).sub(" ", text))
    return 1.0 - 1.8 * min(1, unsafe) - 0.2 * (unsafe > 1)


def _units(tongue: Language, text: str) -> list[str]:
    """Words and numbers in lower case; in Chinese, single characters and Latin words."""
    if tongue.ideographic:
        return re.findall(r"[\u4e00-\u9fff]|[A-Za-z0-9]+", text)
    return re.findall(r"[a-z0-9]+(?:[-'][a-z0-9]+)*", text.lower())


def _readable(tongue: Language, text: str) -> float:
    """In [0, 1]: 1 for a few sentences of known words that hold together.

    A quarter of unknown words costs nothing; a text of one to three units counts in part.
    """
    units = _units(tongue, text)
    words = [unit for unit in units if not any(char.isdigit() for char in unit)]
    letters = _LETTER.findall(_NUMBERED.sub("", text))
    if not words or not letters:
        return 0.0
    enough = min(1.0, len(units) / 4)
    script = _script_share(tongue, letters)
    vocabulary = _vocabulary(tongue)
    known = sum(1 for word in words if word in vocabulary) / len(words)
    coarse = len(_SENTENCE.findall(text)) / len(units)
    return (
        enough
        * _clip(2.0 * script - 0.8, 0.0)
        * _clip((known - 0.35) / 0.4, 0.0)
        * _order(tongue, text, words)
        * _clip(1.3 - 2.0 * _stutter(units), 0.0)
        * _clip((0.7 - coarse) / 0.3, 0.0)
    )


def _stutter(units: Sequence[str]) -> float:
    """Share of the units that repeat the one before."""
    return sum(1 for one, next_one in zip(units, units[1:]) if one == next_one) / len(units)


def _script_share(tongue: Language, letters: Sequence[str]) -> float:
    """Share of the letters that belong to the language's script."""
    chinese = sum(1 for letter in letters if _CJK.match(letter)) / len(letters)
    if tongue.ideographic:
        return chinese
    return sum(1 for letter in letters if letter.isascii()) / len(letters)


def _order(tongue: Language, text: str, words: Sequence[str]) -> float:
    """In [0, 1]: whether the words stand in an order that a sentence may have."""
    if len(words) < 8:
        return 1.0
    manners = tongue.manners
    function = (1 + sum(1 for word in words if word in manners.function)) / len(words)
    if tongue.ideographic:
        pairs = [a + b for a, b in zip(text, text[1:]) if _CJK.match(a) and _CJK.match(b)]
        met = sum(1 for pair in pairs if pair in _pairs(tongue)) / max(1, len(pairs))
        return _clip(function / 0.06, 0.0) * _clip((met - 0.15) / 0.25, 0.0)
    broken = len(_compiled(manners.broken).findall(text)) / len(words)
    return _clip((function - 0.05) / 0.15, 0.0) * _clip(1.2 - 6.0 * broken, 0.0)


@functools.cache
def _phrases(tongue: Language) -> tuple[str, ...]:
    """Every phrase of the language, its slots left blank."""
    phrases = [*tongue.products, *tongue.cities, *tongue.days]
    for intent in tongue.intents.values():
        phrases += [*intent.requests, *intent.held_out_requests, *intent.acknowledgements]
        phrases += [*intent.problems, *intent.held_out_problems, *intent.steps]
    for value in vars(tongue.phrases).values():
        groups = value.values() if isinstance(value, dict) else (value,)
        phrases += [phrase for group in groups for phrase in group]
    return tuple(re.sub(r"\{\w+\}", " ", phrase) for phrase in phrases)


@functools.cache
def _vocabulary(tongue: Language) -> frozenset[str]:
    """The words (characters) of the phrases, and the common ones."""
    said = (unit for phrase in _phrases(tongue) for unit in _units(tongue, phrase))
    return frozenset(said) | frozenset(_units(tongue, tongue.manners.common))


@functools.cache
def _pairs(tongue: Language) -> frozenset[str]:
    """Neighbouring characters that the phrases have."""
    return frozenset(a + b for phrase in _phrases(tongue) for a, b in zip(phrase, phrase[1:]))
