"""Rules a response is checked by: small objects ``(prompt: str, response: str) -> float``.

What is right to answer comes from ``answer``, a function of the prompt: the solver of a task, or the
``__getitem__`` of a dict from prompts to answers. Every rule returns a number from 0 to 1; a weight
in a ``Combination`` says how much it matters, a negative one what is to be avoided.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from decimal import Decimal

from tfalign.rewards.errors import RewardError
from tfalign.rewards.numbers import last_number, parse_number

# Han characters stand for words of their own: nothing separates them.
_WORD = re.compile(r"[\u3400-\u9fff]|(?:(?![\u3400-\u9fff])\w)+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """list of str, the words of a text in lower case; every Chinese character is one.

    >>> words("Don't worry: 退款 is on 5 May!")
    ["don't", 'worry', '退', '款', 'is', 'on', '5', 'may']
    """
    return [word.replace("’", "'").casefold() for word in _WORD.findall(text)]


@dataclasses.dataclass(frozen=True)
class ExactMatch:
    """1 where the response is the right answer, letter by letter.

    Attributes:
        answer: prompt -> str.
        normalize: str -> str, applied to both.
    """

    answer: Callable[[str], str]
    normalize: Callable[[str], str] = str.strip

    def __call__(self, prompt: str, response: str) -> float:
        return float(self.normalize(response) == self.normalize(self.answer(prompt)))


@dataclasses.dataclass(frozen=True)
class NumericMatch:
    """1 where the response's number is the right one, however it is written.

    Attributes:
        answer: prompt -> int, Decimal, or str that ``parse_number`` reads.
        read: response -> Decimal or None, which of its numbers counts; see ``rewards.numbers``.
        tolerance: largest difference that is still right.
    """

    answer: Callable[[str], str | int | Decimal]
    read: Callable[[str], Decimal | None] = last_number
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        _check_not_negative(tolerance=self.tolerance)

    def __call__(self, prompt: str, response: str) -> float:
        answer = self.answer(prompt)
        right = parse_number(str(answer))
        if right is None:
            raise RewardError(f"The right answer must be a number. Received: {answer!r}")
        given = self.read(response)
        return float(given is not None and abs(given - right) <= Decimal(self.tolerance))


@dataclasses.dataclass(frozen=True)
class Format:
    """1 where the whole response has a form.

    Attributes:
        pattern: regular expression; begin with ``(?s)`` where ``.`` shall match line breaks.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"pattern must be a regular expression ({error}). Received: {self.pattern!r}"
            ) from None

    def __call__(self, prompt: str, response: str) -> float:
        return float(re.fullmatch(self.pattern, response) is not None)


@dataclasses.dataclass(frozen=True)
class Length:
    """1 for responses of a length within bounds, falling in a line to 0 over ``slack`` beyond.

    ``Length(longest=L_max - L_cache, slack=L_cache)`` less 1 is DAPO's soft punishment of over-long
    responses (Yu et al. 2025, eq. 13).

    Attributes:
        longest: int.
        shortest: int.
        slack: int, 0 for sharp bounds.
        count: str -> int, how long a text is; words where None.
    """

    longest: int
    shortest: int = 0
    slack: int = 0
    count: Callable[[str], int] | None = None

    def __post_init__(self) -> None:
        _check_not_negative(shortest=self.shortest, slack=self.slack)
        if self.longest < self.shortest:
            raise ValueError(
                "longest must be at least shortest. "
                f"Received: longest={self.longest}, shortest={self.shortest}"
            )

    def __call__(self, prompt: str, response: str) -> float:
        length = len(words(response)) if self.count is None else self.count(response)
        beyond = max(length - self.longest, self.shortest - length, 0)
        if beyond == 0:
            return 1.0
        return max(1.0 - beyond / self.slack, 0.0) if self.slack else 0.0


@dataclasses.dataclass(frozen=True)
class Mentions:
    """The share of a set of words that the response uses, in any case and order.

    Attributes:
        vocabulary: words, or phrases whose words must follow each other.
    """

    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.vocabulary, str) or not all(map(words, self.vocabulary)):
            raise ValueError(f"vocabulary must be a set of words. Received: {self.vocabulary!r}")
        if not self.vocabulary:
            raise ValueError("vocabulary must hold at least one word")

    def __call__(self, prompt: str, response: str) -> float:
        text = _spaced(response)
        return sum(_spaced(entry) in text for entry in self.vocabulary) / len(self.vocabulary)


@dataclasses.dataclass(frozen=True)
class Repetition:
    """The share of a response's n-grams of words that stood in it before; weigh it negatively.

    Attributes:
        n: words of an n-gram.
    """

    n: int = 3

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1. Received: n={self.n}")

    def __call__(self, prompt: str, response: str) -> float:
        said = words(response)
        n_grams = [tuple(said[i : i + self.n]) for i in range(len(said) - self.n + 1)]
        return 1.0 - len(set(n_grams)) / len(n_grams) if n_grams else 0.0


def _spaced(text):
    return f" {' '.join(words(text))} "


def _check_not_negative(**values):
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} must not be negative. Received: {name}={value}")
