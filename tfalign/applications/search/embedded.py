"""A small corpus that needs no data: questions to a shop, in English and Chinese, line by line the same."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from tfalign.data import CompletionRecord

LANGUAGES = ("en", "zh")

_THINGS = {
    "en": ("kettle", "lamp", "scarf", "bicycle", "camera", "backpack", "umbrella", "desk"),
    "zh": ("水壶", "台灯", "围巾", "自行车", "相机", "背包", "雨伞", "书桌"),
}
_WISHES = {
    "en": (
        ("Cancel the order of a {}", "I do not want the {} any more, please cancel it"),
        ("Where is my {}", "When will the {} that I ordered arrive"),
        ("How can I return a {}", "I want to send the {} back"),
        ("The {} is broken", "My {} arrived with damage and does not work"),
        ("What does a {} cost", "How much do I pay for a {}"),
        ("Which colours does the {} come in", "Is there another colour of the {}"),
        ("I was charged twice for the {}", "You took the money for the {} two times"),
        ("How long is the warranty of a {}", "Until when is a {} under guarantee"),
    ),
    "zh": (
        ("取消{}的订单", "我不想要{}了，请取消"),
        ("我的{}在哪里", "我订的{}什么时候到"),
        ("怎样退回{}", "我想把{}寄回去"),
        ("{}坏了", "我收到的{}有损坏，不能用"),
        ("{}多少钱", "买一个{}要付多少"),
        ("{}有哪些颜色", "{}还有别的颜色吗"),
        ("{}被重复扣款了", "你们为{}收了两次钱"),
        ("{}保修多久", "{}的保修期到什么时候"),
    ),
}


class Corpus(NamedTuple):
    """Documents, and questions to which one of them each belongs."""

    documents: tuple[str, ...]
    questions: tuple[str, ...]  # question i asks for document i, in other words


def embedded_corpus(language: str = "en") -> Corpus:
    """64 documents and their questions.

    Args:
        language: "en" or "zh".

    Raises:
        ValueError: if it is another language.

    >>> corpus = embedded_corpus("zh")
    >>> corpus.documents[0], corpus.questions[0]
    ('取消水壶的订单', '我不想要水壶了，请取消')
    >>> len(corpus.documents), len(set(corpus.documents + corpus.questions))
    (64, 128)
    """
    if language not in LANGUAGES:
        raise ValueError(
            f"The embedded corpus is in {' and '.join(LANGUAGES)}. Received: {language!r}"
        )
    pairs = itertools.product(_WISHES[language], _THINGS[language])
    filled = [tuple(text.format(thing) for text in wish) for wish, thing in pairs]
    return Corpus(*(tuple(texts) for texts in zip(*filled)))


def embedded_translations() -> list[CompletionRecord]:
    """All of the texts in English with their Chinese translations, 128 pairs."""
    english, chinese = (embedded_corpus(language) for language in LANGUAGES)
    pairs = itertools.chain(*(zip(*texts) for texts in zip(english, chinese)))
    return [
        CompletionRecord(text, translation, f"embedded:{row}")
        for row, (text, translation) in enumerate(pairs)
    ]
