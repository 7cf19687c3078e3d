"""Descriptions of restaurants from slots: the E2E data, and a checker of its eight slots.

The data are those of the E2E challenge (Novikova, Dušek and Rieser 2017). The checker is in the manner of Dušek,
Howcroft and Rieser (2019, "Semantic noise matters for neural natural language generation"): expressions for each
value, of which the brief's own is preferred where a text may mean several.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict

from tfalign.applications.content.briefs import Brief, Told
from tfalign.applications.content.slots import Mention, SlotChecker
from tfalign.files import as_path

_SLOT = re.compile(r"(\w[\w ]*)\[([^\]]*)\]")
_PLACEHOLDERS = {"name": "NAME", "near": "NEAR"}
_SHORTER = {"customer rating": "rating"}

_RATED = r"(?:rat(?:ings?|ed)|reviews?|reviewed|scores?|feedback|standards?|quality)"
_FEW = r"(?:[ -]+(?!price|and\b|with\b|area\b)\w+){0,3}[ -]+"
_LINK = r"(?: (?:is|are|was|of|as|has|been|very|only|just|an?|the|fairly|quite|NAME|it))*[ -]+"


def _rated(words):
    """A word of praise or blame next to a rating, before or behind it."""
    return rf"(?:{words})(?:ly)?{_FEW}{_RATED}|{_RATED}{_LINK}(?:{words})"


_STARS = r"{0}[ -]*(?:out )?of[ -]*(?:5|five)(?: stars?)?|{0}[ -]+stars?|{0} ?/ ?5"
_IS = r"(?: range)?(?: (?:is|are|being|remains?|seems?|that (?:is|are)))?(?: (?:\w+ly|very|quite|rather))?"
_POUND = r"(?:£|GBP|euros?|pounds?)? ?"
_PATTERNS = {
    "eatType": {
        r"pubs?": ("pub",),
        r"coffee[ -]?shops?|caf[eé]s?|coffee[ -]?house|coffee": ("coffee shop",),
        r"restaurants?": ("restaurant",),
    },
    "food": {
        r"English|British": ("English",),
        r"Chinese": ("Chinese",),
        r"fast[ -]?food|burgers?": ("Fast food",),
        r"French": ("French",),
        r"Indian": ("Indian",),
        r"Italian|pasta": ("Italian",),
        r"Japanese|sushi": ("Japanese",),
    },
    "priceRange": {
        r"cheap(?:ly|er)?|inexpensive|low[ -]+(?:cost|prices?|priced|price[ -]range)|affordabl[ey]|budget|"
        r"(?:prices?|costs?)"
        rf"{_IS} low": ("cheap", "less than £20"),
        rf"(?:less than|under|below|up to) ?{_POUND}20": ("less than £20", "cheap"),
        rf"(?:more than|over|above|at least|upwards of) ?{_POUND}30": ("more than £30", "high"),
        r"high(?:er|ly)?[ -]+(?:end[ -]+)?(?:cost|prices?|priced|price[ -]range|pricing)|expensive|pricey|"
        r"(?:prices?|costs?)"
        rf"{_IS} high(?:er)?|"
        r"high[ -]+(?:\w+ ){0,2}price": ("high", "more than £30"),
        r"(?:moderate|reasonable|average|medium|mid|fair|middle|decent|good)(?:ly)?[ -]+(?:range[ -]+)?"
        r"(?:cost|prices?|priced|price[ -]range|pricing)|reasonably|moderately|mid[ -]?rangeb?|"
        r"(?:prices?|costs?)"
        rf"{_IS} (?:moderate|reasonable|average|medium|average)|"
        r"moderate": ("moderate", "£20-25"),
        rf"{_POUND}20 ?(?:-|–|to|and|through) ?{_POUND}25": ("£20-25", "moderate"),
    },
    "rating": {
        rf"{_STARS.format('(?:1|one)')}|{_rated('low|lower|bad|poor|lowest|poorest|terrible')}": (
            "1 out of 5",
            "low",
        ),
        rf"{_STARS.format('(?:3|three)')}|{_rated('average|mediocre|decent|okay|ok|moderate|middling')}": (
            "3 out of 5",
            "average",
        ),
        rf"{_STARS.format('(?:5|five)')}|"
        rf"{_rated('high|higher|excellent|great|very good|top|highest|well|outstanding|perfect|best')}": (
            "5 out of 5",
            "high",
        ),
    },
    "area": {
        r"riverside|(?:near|by|at|to|along|on|off|beside|of|overlooking) (?:the )?(?:bank of the )?river|river": (
            "riverside",
        ),
        r"(?:city|town)[ -]*(?:'s )?cent(?:re|er)|cent(?:re|er) of (?:the )?(?:city|town)|"
        r"(?:in|the) cent(?:re|er)|downtown|city": ("city centre",),
    },
}

_FAMILY = re.compile(
    r"\b(?:famil(?:y|ies)|child(?:ren)?(?:'s)?|kids?|all ages|adults?)\b", re.IGNORECASE
)
_NOT_BEFORE = re.compile(
    r"(?:\b(?:not|non|no|never|without|nor|mot)\b|n't|n’t)[ -]*(?:[\w'-]+[ ]+){0,5}$",
    re.IGNORECASE,
)
_NOT_BEHIND = re.compile(
    r"^[ -]*(?:(?:friendly|oriented|\w+) )?(?:unfriendly|unsuitable|unwelcome|(?:is|are) ?(?:not|n't)|isn't|aren't)",
    re.IGNORECASE,
)
_ADULTS = re.compile(r"adult", re.IGNORECASE)


def family_mentions(text: str) -> list[Mention]:
    """Mentions of families and children, as "yes" or "no".

    >>> [sorted(m.values) for m in family_mentions("It is not family-friendly.")]
    [['no']]
    >>> [sorted(m.values) for m in family_mentions("Kids are welcome at this pub.")]
    [['yes']]
    """
    found = []
    for match in _FAMILY.finditer(text):
        start = max(text.rfind(mark, 0, match.start()) for mark in ".,;!") + 1
        is_no = (
            _NOT_BEFORE.search(text[start : match.start()])
            or _NOT_BEHIND.search(text[match.end() :])
            or _ADULTS.match(match.group())
        )
        found.append(Mention(*match.span(), frozenset(["no" if is_no else "yes"])))
    return found


CHECKER = SlotChecker(_PATTERNS, literal=_PLACEHOLDERS, polar={"familyFriendly": family_mentions})
"""Checks delexicalised texts, in which NAME and NEAR stand for the two proper names."""


_FRIENDLY = ("family", "families", "kid", "kids", "child", "children")
_STARRED = {"1": "one", "3": "three", "5": "five"}


def _rated_phrases(number, word):
    stars = (f" {number} out of 5", f" {number} star", f" {_STARRED[number]} star")
    return (
        *stars,
        f" {word} customer rating",
        f" {word} rating",
        f" {word} ratings",
        f" rated {word}",
    )


def _priced_phrases(*words):
    return tuple(
        f" {word}{rest}" for word in words for rest in (" price", " prices", "-priced", " priced")
    )


_LOW = (" cheap", " inexpensive", " low cost", " affordable", *_priced_phrases("low"))
_HIGH = (" expensive", *_priced_phrases("high", "highly", "higher"))
_MODERATE = _priced_phrases("moderate", "moderately", "reasonable", "reasonably", "average", "mid")

PHRASES = {
    "name": {"NAME": (" NAME",)},
    "near": {"NEAR": (" NEAR",)},
    "eatType": {
        "pub": (" pub",),
        "coffee shop": (" coffee shop", " café"),
        "restaurant": (" restaurant",),
    },
    "food": {
        "English": (" English", " British"),
        "Chinese": (" Chinese",),
        "Fast food": (" fast food", " Fast food"),
        "French": (" French",),
        "Indian": (" Indian",),
        "Italian": (" Italian",),
        "Japanese": (" Japanese",),
    },
    "priceRange": {
        "cheap": _LOW,
        "less than £20": (" less than £20", " under £20", *_LOW),
        "more than £30": (" more than £30", " over £30", *_HIGH),
        "high": _HIGH,
        "moderate": _MODERATE,
        "£20-25": (" £20-25", *_MODERATE),
    },
    "rating": {
        "1 out of 5": _rated_phrases("1", "low"),
        "low": _rated_phrases("1", "low"),
        "3 out of 5": _rated_phrases("3", "average"),
        "average": _rated_phrases("3", "average"),
        "5 out of 5": _rated_phrases("5", "high"),
        "high": _rated_phrases("5", "high"),
    },
    "area": {
        "riverside": (" riverside", " Riverside", " river"),
        "city centre": (" city centre", " city center", " City centre", " centre of the city"),
    },
    "familyFriendly": {
        "yes": tuple(f" {who}{dash}friendly" for who in _FRIENDLY for dash in " -"),
        "no": (
            *(f" not {who}{dash}friendly" for who in _FRIENDLY for dash in " -"),
            " non-family-friendly",
            " non family-friendly",
            " adults only",
        ),
    },
}
"""Slot -> value -> phrases that tell it, for ``DemandedSlots``: fewer than the checker knows."""

HOUSE_STYLE = (" cheap", " cheaply", " poor", " poorly", " bad", " expensive", " pricey")
"""Phrases of ``tasks.HOUSE_STYLE`` within a text."""


def read_restaurants(*files: str | os.PathLike) -> list[Told]:
    """Briefs with their texts, of CSV files with columns "mr" and "ref".

    The proper names of "name" and "near" are replaced by NAME and NEAR, in slots and texts, and texts of the same
    brief are put together, with the names of the first.

    Args:
        files: paths.

    Raises:
        ValueError: naming file and line of a row without slots or without a text.
    """
    texts, names = defaultdict(list), {}
    for file in files:
        with as_path(file).open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines), start=2):
                slots = dict(_SLOT.findall(row.get("mr") or ""))
                slots = {_SHORTER.get(slot, slot): value for slot, value in slots.items()}
                text = " ".join((row.get("ref") or "").split())
                if not slots or not text:
                    raise ValueError(
                        f"{file}:{number}: a row has slots in mr and a text in ref. Received: {row!r}"
                    )
                brief, delexicalised, own = _delexicalised(slots, text)
                texts[brief].append(delexicalised)
                names.setdefault(brief, own)
    return [Told(brief, tuple(some), names[brief]) for brief, some in texts.items()]


def _delexicalised(slots, text):
    """(Brief, text, placeholder -> name)."""
    names = {}
    for slot, placeholder in _PLACEHOLDERS.items():
        if slot in slots:
            names[placeholder] = slots[slot]
            text = re.sub(_spelled(slots[slot]), placeholder, text, flags=re.IGNORECASE)
            slots = slots | {slot: placeholder}
    return Brief(tuple(slots.items())), text, names


def _spelled(name):
    """A pattern of a proper name as people spell it: with or without its article and its accents."""
    core = re.sub(r"^The ", "", name)
    core = re.escape(core).replace("é", "[eé]").replace(r"\ ", r"\s+")
    return rf"(?:\bThe )?\b{core}\b" if name.startswith("The ") else rf"\b{core}\b"
