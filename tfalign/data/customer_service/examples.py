"""The dataset's records, drawn without any file: four kinds, each with a train and a test split.

* ``text``: whole dialogues whose agents mostly know the case and often lack manners (pretraining).
* ``completions``: prompt and completion, somewhat better mannered (supervised fine-tuning).
* ``preferences``: prompt, chosen, rejected; the choice follows the gold reward with noise.
* ``prompts``: prompts alone (reinforcement learning).

The test splits are phrased in request templates that no training split has. By its hash a prompt
belongs to ``prompts`` or to the other kinds, so that none of ``prompts`` occurs in any other kind.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator

from tfalign.data.customer_service.gold import gold_reward
from tfalign.data.customer_service.grammar import (
    GOOD,
    LANGUAGES,
    Behaviour,
    Request,
    about_another,
    draw_behaviour,
    draw_completion,
    draw_other_level,
    draw_request,
    overdone,
    pick_other,
)

SIZES = {
    "text": {"train": 12_000, "test": 1_000},
    "completions": {"train": 4_000, "test": 400},
    "preferences": {"train": 32_000, "test": 1_000},
    "prompts": {"train": 2_000, "test": 800},
}
FIELDS = {
    "text": ("text",),
    "completions": ("prompt", "completion"),
    "preferences": ("prompt", "chosen", "rejected"),
    "prompts": ("prompt",),
}
GOOD_RATES = {
    "text": Behaviour(0.3, 0.9, 0.85, 0.6, 0.55),
    "completions": Behaviour(0.45, 0.85, 0.75, 0.65, 0.7),
    "preferences": Behaviour(0.55, 0.6, 0.5, 0.75, 0.8),
}
ENGLISH_SHARE = 0.5
TEMPERATURE = 0.25  # of the preferences; 0 would always choose the better by gold
PROMPTS_SHARE = 24  # percent of the hashes; the other prompts are the other kinds
# How often the two answers of a preference pair are drawn apart, and how often the second has one
# factor of the first's behaviour at another level, is the first about another customer's case, an
# answer like the first to another request, or the first overdone or without its end.
PAIRS = {
    "apart": 0.05,
    "other_level": 0.28,
    "other_case": 0.35,
    "other_request": 0.2,
    "overdone": 0.12,
}
# How likely each factor is the one at another level: those that the other kinds of pairs hardly show
# more so, or a reward model learns from answers that are overdone that the shorter is the better.
LEVELS = Behaviour(courteous=3, addresses=2, next_step=3, concise=1, safe=1)


def dialogues_of(kind: str) -> tuple[str, str | None]:
    """A kind's name without its language, and the language.

    >>> dialogues_of("text"), dialogues_of("prompts_zh")
    (('text', None), ('prompts', 'zh'))
    """
    base, _, language = kind.partition("_")
    if base not in SIZES or (language and language not in LANGUAGES):
        raise ValueError(
            f"kind must be one of {', '.join(SIZES)}, or one of them with _en or _zh. "
            f"Received: kind={kind!r}"
        )
    return base, language or None


def generate_examples(
    kind: str, split: str, size: int | None = None, seed: int = 0
) -> Iterator[dict[str, str]]:
    """Draws the records of one split; the same arguments give the same records everywhere.

    Args:
        kind: "text", "completions", "preferences" or "prompts" in both languages, or one of them
            with "_en" or "_zh".
        split: "train" or "test".
        size: number of records; by default that of ``SIZES``.
        seed: int, another for another dataset.

    Yields:
        Records with the fields of ``FIELDS``. Prompts are distinct, save in "text".

    Raises:
        ValueError: if the kind or the split is unknown.
    """
    base, language = dialogues_of(kind)
    if split not in SIZES[base]:
        raise ValueError(f"split must be train or test. Received: split={split!r}")
    rng = random.Random(f"tfalign customer_service {kind} {split} {seed}")
    make = {
        "text": _text,
        "completions": _completion,
        "preferences": _preference,
        "prompts": lambda rng, request: {"prompt": request.prompt},
    }[base]
    requests = _requests(rng, base, split, language)
    for _ in range(SIZES[base][split] if size is None else size):
        yield make(rng, next(requests))


def preference_probability(first_reward: float, second_reward: float) -> float:
    """The probability that the first of two answers is chosen: a logistic choice by gold."""
    return 1.0 / (1.0 + math.exp((second_reward - first_reward) / TEMPERATURE))


def is_of_prompts(prompt: str) -> bool:
    """Whether a prompt belongs to the kind "prompts", by its hash, or to the other kinds."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < PROMPTS_SHARE


def _requests(rng: random.Random, base: str, split: str, language: str | None) -> Iterator[Request]:
    """Requests of the kind and split, each prompt once save in "text"."""
    seen = set()
    while True:
        chosen = language or ("en" if rng.random() < ENGLISH_SHARE else "zh")
        request = draw_request(rng, chosen, held_out=split == "test")
        if is_of_prompts(request.prompt) != (base == "prompts") or request.prompt in seen:
            continue
        if base != "text":
            seen.add(request.prompt)
        yield request


def _draw(rng: random.Random, request: Request, base: str) -> str:
    return draw_completion(rng, request, draw_behaviour(rng, GOOD_RATES[base]))


def _text(rng: random.Random, request: Request) -> dict[str, str]:
    return {"text": request.prompt + _draw(rng, request, "text")}


def _completion(rng: random.Random, request: Request) -> dict[str, str]:
    return {"prompt": request.prompt, "completion": _draw(rng, request, "completions")}


def _preference(rng: random.Random, request: Request) -> dict[str, str]:
    first, second = _pair(rng, request)
    rewards = [gold_reward(request.prompt, answer) for answer in (first, second)]
    if rng.random() >= preference_probability(*rewards):
        first, second = second, first
    return {"prompt": request.prompt, "chosen": first, "rejected": second}


def _pair(rng: random.Random, request: Request) -> tuple[str, str]:
    """Two different answers to a request, related as one of ``PAIRS``."""
    (kind,) = rng.choices(list(PAIRS), PAIRS.values())
    while True:
        behaviour = draw_behaviour(rng, GOOD_RATES["preferences"])
        if kind != "apart":
            behaviour = behaviour._replace(addresses=GOOD.addresses)
        if kind == "overdone":
            behaviour = behaviour._replace(concise=GOOD.concise)
        first = draw_completion(rng, request, behaviour)
        if kind == "other_level":
            second = draw_completion(rng, request, draw_other_level(rng, behaviour, LEVELS))
        elif kind == "other_case":
            second = about_another(rng, request, first)
        elif kind == "other_request":
            intents = tuple(LANGUAGES[request.language].intents)
            other = request._replace(intent=pick_other(rng, intents, request.intent))
            second = draw_completion(rng, other, behaviour)
        elif kind == "overdone":
            second = overdone(rng, request, first)
        else:
            second = _draw(rng, request, "preferences")
        if second != first:
            return first, second
