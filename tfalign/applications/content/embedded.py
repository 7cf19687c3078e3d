"""Briefs that need no data: a tiny grammar of advertisements, stories and news, in English and Chinese.

Every brief has texts as people write them: most slots are told, some are left out, some texts boast. What imitates
them does the same.
"""

from __future__ import annotations

import itertools
import random

from tfalign.applications.content.briefs import KINDS, TONES, Brief, Told
from tfalign.applications.content.slots import SlotChecker

_VALUES = {
    "en": {
        "thing": ("teapot", "kite", "lamp", "scarf"),
        "colour": ("red", "blue", "green"),
        "place": ("harbour", "market", "station"),
        "price": ("5 pounds", "9 pounds", "20 pounds"),
    },
    "zh": {
        "物品": ("茶壶", "风筝", "台灯", "围巾"),
        "颜色": ("红色", "蓝色", "绿色"),
        "地点": ("港口", "集市", "车站"),
        "价格": ("五元", "九元", "二十元"),
    },
}
_OPENINGS = {
    "en": {
        "ad": ("Come and see", "Now in our shop:", "Here is"),
        "story": ("Once there was", "Long ago Ann found", "One morning Tom lost"),
        "article": ("This week the town saw", "A visitor reports", "On Monday people noticed"),
    },
    "zh": {
        "ad": ("欢迎选购", "本店新到", "为您推荐"),
        "story": ("从前有", "很久以前小明找到了", "一天早上小红丢了"),
        "article": ("本周镇上出现了", "记者看到", "周一人们发现了"),
    },
}
_TONES = {
    "en": {"plain": "", "warm": " You will love it.", "brisk": " Hurry!"},
    "zh": {"plain": "", "warm": "您一定喜欢。", "brisk": "抓紧时间！"},
}
_BOAST = {"en": " It is the best, guaranteed.", "zh": "这是最好的，绝对超值。"}
_TEXTS, _LEFT_OUT, _BOASTING = 3, 0.25, 0.2
"""Texts of a brief; how often a slot is left out, and how often a text boasts."""


def briefs(language: str = "en", seed: int = 0) -> list[Told]:
    """All briefs of the grammar with their texts, the same for a seed.

    Args:
        language: "en" or "zh".
        seed: int, of what the texts leave out.

    Raises:
        ValueError: if it is another language.

    >>> told = briefs("en")
    >>> told[0].brief.prompt
    'ad plain | thing teapot | colour red | place harbour | price 5 pounds ->'
    """
    values = _values(language)
    choice = random.Random(seed)
    found = []
    for of_slots in itertools.product(*values.values()):
        slots = tuple(zip(values, of_slots))
        kind, tone = KINDS[len(found) % len(KINDS)], TONES[len(found) // len(KINDS) % len(TONES)]
        brief = Brief(slots, kind, tone, language)
        found.append(Told(brief, tuple(_text(brief, choice) for _ in range(_TEXTS))))
    return found


def checker(language: str = "en") -> SlotChecker:
    """Checks the grammar's slots: a value of a slot that the brief does not give is a wrong one."""
    return SlotChecker(
        {slot: {value: (value,) for value in values} for slot, values in _values(language).items()},
        separated=language == "en",
    )


def _values(language):
    if language not in _VALUES:
        raise ValueError(f"language is one of {', '.join(_VALUES)}. Received: {language!r}")
    return _VALUES[language]


def _text(brief, choice):
    """A text for a brief, as somebody careless writes it."""
    language = brief.language
    told = {name: value for name, value in brief.slots if choice.random() > _LEFT_OUT}
    opening = choice.choice(_OPENINGS[language][brief.kind])
    boast = _BOAST[language] if choice.random() < _BOASTING else ""
    write = _english if language == "en" else _chinese
    return write(opening, told) + boast + _TONES[language][brief.tone]


def _english(opening, told):
    thing = " ".join(filter(None, [told.get("colour"), told.get("thing", "thing")]))
    where = f" at the {told['place']}" if "place" in told else ""
    price = f" for {told['price']}" if "price" in told else ""
    return f"{opening} a {thing}{where}{price}."


def _chinese(opening, told):
    thing = told.get("颜色", "") + told.get("物品", "东西")
    where = f"，在{told['地点']}" if "地点" in told else ""
    price = f"，只要{told['价格']}" if "价格" in told else ""
    return f"{opening}{thing}{where}{price}。"
