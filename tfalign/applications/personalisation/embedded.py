"""Users without data: customers who weigh the five parts of the customer-service gold reward otherwise.

Everyone wants an answer that is about their own case, says the next step and is safe. For courtesy and for brevity they
have tastes: they like it, are indifferent, or like the contrary. Choices follow a user's own gold reward
with the noise of the data set's preferences. Prompts and answers are the grammar's, in English and in Chinese.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from tfalign.data import PreferenceRecord
from tfalign.data.customer_service import gold_components, weighted
from tfalign.data.customer_service.examples import preference_probability
from tfalign.data.customer_service.gold import WEIGHTS
from tfalign.data.customer_service.grammar import (
    LANGUAGES,
    Behaviour,
    draw_behaviour,
    draw_completion,
    draw_request,
)

TASTES = ("courteous", "concise")
LEVELS = {3.5: 0.5, 0.0: 0.15, -3.5: 0.35}  # how often each taste is found; times the gold's weight
GOOD_RATES = Behaviour(0.5, 0.75, 0.5, 0.5, 0.5)  # of the answers, each factor by itself


class Customer(NamedTuple):
    """A user of the embedded data.

    Attributes:
        name: str.
        language: "en" or "zh".
        tastes: dict of the parts in ``TASTES`` to how much they are liked, a multiple of the gold's weight.
    """

    name: str
    language: str
    tastes: dict[str, float]

    def gold(self, prompt: str, response: str) -> float:
        """How good an answer is to this user: ``gold_reward`` with the user's weights."""
        return weighted(gold_components(prompt, response), self.weights)

    @property
    def weights(self) -> dict[str, float]:
        """Part -> weight."""
        return {name: weight * self.tastes.get(name, 1.0) for name, weight in WEIGHTS.items()}


def customers(count: int, seed: int = 0, language: str | None = None) -> list[Customer]:
    """Users, drawn one by one; the same seed gives the same.

    Args:
        count: int.
        seed: int.
        language: "en" or "zh"; None for both in turn.
    """
    rng = random.Random(f"tfalign personalisation users {seed}")
    tongues = sorted(LANGUAGES) if language is None else [language]
    made = []
    for number in range(count):
        levels = rng.choices(list(LEVELS), LEVELS.values(), k=len(TASTES))
        tongue = tongues[number % len(tongues)]
        made.append(Customer(f"user {seed}-{number}", tongue, dict(zip(TASTES, levels))))
    return made


def choices_of(
    user: Customer, split: str = "train", seed: int = 0, noise: bool = True
) -> Iterator[PreferenceRecord]:
    """Endless choices of a user between two answers to a prompt.

    Args:
        user: Customer.
        split: "train" or "test", whose requests are phrased as no training split's.
        seed: int.
        noise: bool, whether choices follow the reward with noise, or the better answer is always chosen.

    Yields:
        PreferenceRecord, with the user's name.
    """
    rng = random.Random(f"tfalign personalisation pairs {user.name} {split} {seed}")
    while True:
        request = draw_request(rng, user.language, held_out=split == "test")
        first, second = (
            draw_completion(rng, request, draw_behaviour(rng, GOOD_RATES)) for _ in range(2)
        )
        rewards = [user.gold(request.prompt, answer) for answer in (first, second)]
        if first == second or rewards[0] == rewards[1]:
            continue
        chosen = (
            rng.random() < preference_probability(*rewards) if noise else rewards[0] > rewards[1]
        )
        if not chosen:
            first, second = second, first
        yield PreferenceRecord(request.prompt, first, second, user=user.name)
