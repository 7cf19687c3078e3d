"""Words of a language, as a small closed vocabulary has them: lower case, punctuation by itself, Han characters singly."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ENGLISH = re.compile(r"\[[^\[\]\s]+\]|[a-z]+(?:'[a-z]+)*|\d+(?:[.:]\d+)*|[^\w\s]|\w")
_CHINESE = re.compile(r"\[[^\[\]\s]+\]|[a-z]+|\d+(?:[.:]\d+)*|[^\w\s]|\w")
_PATTERNS = {"english": _ENGLISH, "chinese": _CHINESE}
LANGUAGES = tuple(_PATTERNS)


def words_of(text: str, language: str) -> list[str]:
    """The words of a text. A placeholder such as ``[name]`` is one word.

    Args:
        text: str.
        language: one of ``LANGUAGES``.

    Raises:
        ValueError: if the language is none of these.

    >>> words_of("It's at 12 Mill Road, isn't it?", "english")
    ["it's", 'at', '12', 'mill', 'road', ',', "isn't", 'it', '?']
    >>> words_of("评分4.5分以上", "chinese")
    ['评', '分', '4.5', '分', '以', '上']
    """
    if language not in _PATTERNS:
        raise ValueError(f"A language is one of {', '.join(LANGUAGES)}. Received: {language!r}")
    return _PATTERNS[language].findall(text.lower())


def joined(words: Iterable[str], language: str) -> str:
    """Words as a person reads them.

    >>> joined(["it", "is", "cheap", ",", "and", "near", "."], "english")
    'it is cheap, and near.'
    >>> joined(["评", "分", "4.5", "分"], "chinese")
    '评分4.5分'
    """
    if language == "chinese":
        return "".join(words)
    return re.sub(r" (?=[.,!?;:])", "", " ".join(words))
