"""Word problems of two steps: what people ask a calculator for.

    Ann buys 24 boxes of 13 pens and gives 57 pens away. How many pens has Ann now?   24*13-57   255

Which are held out is decided by a hash of the problem, the same everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfalign.data.checks import whole_number
from tfalign.data.records import split_by_prompt

_NAMES = ("Ann", "Ben", "Carla", "David", "Emma", "Felix", "Greta", "Hugo")
_THINGS = ("pens", "apples", "stamps", "marbles", "books", "coins", "shells", "cards")
_STORIES = (
    (
        "{n} buys {a} boxes of {b} {t} and gives {c} {t} away. How many {t} has {n} now?",
        "{a}*{b}-{c}",
        lambda a, b, c: a * b - c,
    ),
    (
        "{n} has {a} {t} and finds {b} more on each of {c} days. How many {t} has {n} now?",
        "{a}+{b}*{c}",
        lambda a, b, c: a + b * c,
    ),
    (
        "{a} children have {b} {t} each and share {c} {t} more. How many {t} are there?",
        "{a}*{b}+{c}",
        lambda a, b, c: a * b + c,
    ),
    (
        "{n} packs {a} red and {b} blue {t} into each of {c} bags. How many {t} are packed?",
        "({a}+{b})*{c}",
        lambda a, b, c: (a + b) * c,
    ),
    (
        "Of {a} {t}, {b} are sold and {c} come back. How many {t} are there now?",
        "{a}-{b}+{c}",
        lambda a, b, c: a - b + c,
    ),
)
_LEAST, _MOST = 2, 99
_TEST_FRACTION = 0.1


class WordProblem(NamedTuple):
    """A question, and how it is worked out."""

    prompt: str
    expression: str
    answer: str


def word_problems(split: str, count: int, seed: int = 0) -> list[WordProblem]:
    """Problems with numbers from 2 to 99 whose answers are not negative.

    Args:
        split: "train" or "test"; no prompt is in both, whatever the counts and seeds.
        count: int, about how many are made; a tenth of them is held out, so "test" has about a tenth of ``count``.
        seed: int, of the numbers and names.

    Returns:
        list of WordProblem, all different.

    Raises:
        ValueError: if the split is unknown, or count is not positive.

    >>> word_problems("train", 3)[0].prompt
    '61 children have 97 books each and share 73 books more. How many books are there?'
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test. Received: split={split!r}")
    whole_number("count", count, least=1)
    numbers = np.random.default_rng(seed)
    made = {problem.prompt: problem for problem in (_problem(numbers) for _ in range(count))}
    return split_by_prompt(list(made.values()), _TEST_FRACTION)[split == "test"]


def _problem(numbers):
    while True:
        question, expression, work_out = _STORIES[numbers.integers(len(_STORIES))]
        a, b, c = (int(number) for number in numbers.integers(_LEAST, _MOST + 1, 3))
        told = {"a": a, "b": b, "c": c, "n": _NAMES[numbers.integers(len(_NAMES))]}
        told["t"] = _THINGS[numbers.integers(len(_THINGS))]
        answer = work_out(a, b, c)
        if answer >= 0:
            return WordProblem(question.format(**told), expression.format(**told), str(answer))
