"""What is written for: a task is briefs with people's texts, and who checks what a model writes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from tfalign.applications.content import clothing, embedded, restaurants
from tfalign.applications.content.briefs import Told, split_told, varied
from tfalign.applications.content.compliance import RULES, Compliance, Rule
from tfalign.applications.content.slots import SlotChecker

HOUSE_STYLE = Rule(
    "house style",
    "the advertiser's own",
    r"\b(?:cheap(?:ly|er|est)?|poor(?:ly)?|bad(?:ly)?|pricey|expensive|adults? only)\b",
)
"""What an owner would not have said of the own restaurant; every slot can be told without it."""


class Task(NamedTuple):
    """Briefs with texts, and their checks."""

    train: list[Told]
    test: list[Told]
    checker: SlotChecker
    compliance: Compliance

    def records(
        self, split: str = "train", texts: bool = False, copies: int = 1
    ) -> list[dict[str, Any]]:
        """Records of prompts, or with ``texts`` one of each text.

        Args:
            split: "train" or "test".
            texts: whether they are for ``FineTuner``.
            copies: records of each text, all but the first with other values of the split, see ``varied``.
        """
        told = self.train if split == "train" else self.test
        if not texts:
            return [one.brief.record() for one in told]
        pairs = [(one.brief, text) for one in told for text in one.texts]
        found = [brief.record(text) for brief, text in pairs]
        values = defaultdict(dict)
        for name, value in (slot for brief, _ in pairs for slot in brief.slots):
            values[name][value] = None
        choices = {name: list(known) for name, known in values.items()}
        for copy in range(1, copies):
            for number, (brief, text) in enumerate(pairs):
                brief, text = varied(brief, text, choices, [copy, number])
                found.append(brief.record(text))
        return found


def task_of(source: str, test_fraction: float = 0.15) -> Task:
    """A task by name.

    Args:
        source: "embedded" or "embedded:zh", which need no data; "restaurants:FILE.csv,FILE.csv" of the E2E
            data; "clothing:FILE.json" of AdvertiseGen.
        test_fraction: about how much of the briefs is held out.

    Raises:
        ValueError: if it is none of these, or a file is refused.
    """
    kind, _, given = source.partition(":")
    files = given.split(",")
    if kind == "embedded":
        language = given or "en"
        told, checker = embedded.briefs(language), embedded.checker(language)
        rules = RULES[language]
    elif kind == "restaurants" and given:
        told, checker = restaurants.read_restaurants(*files), restaurants.CHECKER
        rules = (*RULES["en"], HOUSE_STYLE)
    elif kind == "clothing" and given:
        told, checker, rules = clothing.read_clothing(*files), clothing.CHECKER, RULES["zh"]
    else:
        raise ValueError(
            "Data is embedded, embedded:zh, restaurants:FILES or clothing:FILES. "
            f"Received: {source!r}"
        )
    return Task(*split_told(told, test_fraction), checker, Compliance(rules))
