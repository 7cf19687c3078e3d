"""What a small reward model sees of a text without a neural encoder: which words it has, and how it fits its prompt."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

_UNIT = re.compile(r"[\u4e00-\u9fff]|[A-Za-z]+(?:['’-][A-Za-z]+)*|\d+|[^\w\s]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_FUNCTION = frozenset(
    [
        "your",
        "this",
        "that",
        "with",
        "have",
        "order",
        "customer",
        "agent",
        "please",
        "thank",
        "sorry",
        "will",
        "been",
        "from",
        "they",
        "them",
        "what",
        "when",
        "very",
    ]
)
_STEPS = (2, 4, 6, 8, 11, 14, 18, 22, 27, 33, 40, 50, 65)  # lengths, in units
_SHARES = (0.01, 0.1, 0.2, 0.3, 0.5)


class TextFeatures:
    """Features of an answer to a prompt, each there or not: hashed words, their neighbours, numbers that are the
    prompt's own or not, length, repetition, and what is taken up of the prompt. English and Chinese.

    What a good next step is depends on what was asked: words of the prompt are crossed with words of the answer.

    Args:
        size: int, F, of the hash; collisions cost a little.

    >>> features = TextFeatures(256)
    >>> one, other = features(["Order 12?", "Order 12?"], ["Order 12 is sent.", "Order 13 is sent."])
    >>> one.shape, bool((one != other).any())
    ((256,), True)
    """

    def __init__(self, size: int = 16384) -> None:
        self.size = size

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """float32[N, F], 0.1 where a feature is there."""
        found = np.zeros((len(prompts), self.size), "float32")
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            found[row, self.places(prompt, response)] = (
                0.1  # a hundred or so: rows of length about 1
            )
        return found

    def places(self, prompt: str, response: str) -> np.ndarray:
        """int32[n], which features an answer has, some more than once."""
        names = self._names(prompt, response)
        return np.array([zlib.crc32(name.encode()) % self.size for name in names], "int32")

    def _names(self, prompt, response):
        asked, said = _units(prompt), _units(response)
        marked = [self._marked(unit, set(asked)) for unit in said]
        han = bool(_HAN.search(response))
        names = {f"1 {unit}" for unit in marked}
        names |= {f"2 {a} {b}" for a, b in zip(marked, marked[1:])}
        if han:
            names |= {f"3 {a}{b}{c}" for a, b, c in zip(marked, marked[1:], marked[2:])}
        names |= {f"{'h' if han else 'l'} length>{step}" for step in _STEPS if len(said) > step}
        triples = list(zip(said, said[1:], said[2:]))
        repeated = 1 - len(set(triples)) / len(triples) if triples else 0.0
        names |= {f"repeated>{share}" for share in _SHARES if repeated > share}
        taken = _taken_up(asked, said)
        names |= {f"taken up>{share}" for share in _SHARES if taken > share}
        if said and said[-1].isalnum():
            names.add("unfinished")
        return names | {f"x {a} {b}" for a in _content(asked, han) for b in _content(said, han)}

    @staticmethod
    def _marked(unit, asked):
        if unit.isdigit():
            return "<own>" if unit in asked else "<other>"
        return unit


def _units(text):
    return [unit.lower() for unit in _UNIT.findall(text)]


def _content(units, han):
    """The words with a topic: in Chinese, pairs of characters."""
    if han:
        pairs = zip(units, units[1:])
        return {a + b for a, b in pairs if _HAN.match(a) and _HAN.match(b)}
    return {unit for unit in units if len(unit) > 3 and unit not in _FUNCTION}


def _taken_up(asked, said):
    """Fraction of the answer's pairs of neighbours that the prompt has."""
    known = set(zip(asked, asked[1:]))
    pairs = list(zip(said, said[1:]))
    return sum(pair in known for pair in pairs) / len(pairs) if pairs else 0.0
