r"""Numbers as people write them in answers: 1,080 and $3.50 and -7 and 50% and \boxed{4{,}500} and 3/4.

All readers take a text and return a ``decimal.Decimal``, which is exact, or None where there is no
number to be read. A number that is understood in part is none: of 12:30, 1.2.3, 10^3, \sqrt{2}, 1/3, 12,34
or 2\pi no piece is returned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from tfalign.rewards.number_text import UNREADABLE, plain_text

_JOINED = re.compile(  # digits and all that may join them: what it says is seen as a whole
    r"\.?[0-9]+(?:(?:[.,:'_]|[ ]?/[ ]?|\^\{?[-+]?|[eE][-+]?|[ ](?=[0-9]{3}(?![0-9]))"
    r"|[ ](?=[0-9]+[ ]?/[ ]?[0-9]))[0-9]+)*"
)
# A sign counts where it cannot be an operator: "x=-5" holds -5, "8-5" and "pages 8-5" hold 5.
_MENTION = re.compile(
    rf"(?P<unreadable>{UNREADABLE})|(?P<sign>(?<![\w.)%\]}}])[-+])?"
    rf"(?:(?P<currency>[$€£¥₹])\s?(?P<inner_sign>[-+])?)?(?P<joined>{_JOINED.pattern})"
    r"(?:[ ]?(?P<scale>hundred|thousand|million|billion|trillion|[万亿])(?![A-Za-z0-9]))?",
)
_SCALES = dict(zip(("hundred", "thousand", "million", "billion", "trillion"), (2, 3, 6, 9, 12)))
_SCALES |= {"万": 4, "亿": 8}

_GROUPED = r"[1-9][0-9]{0,2}(?:(?P<mark>[,' _])[0-9]{3})(?:(?P=mark)[0-9]{3})*(?:\.[0-9]+)?"
_DECIMAL = re.compile(
    rf"(?P<digits>{_GROUPED}|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE](?P<exponent>[-+]?[0-9]{{1,4}}))?"
)
_FRACTION = re.compile(r"(?:(?P<whole>[0-9]+) )?(?P<above>[0-9]+) ?/ ?(?P<below>[0-9]+)")
_SEVERAL = re.compile(  # "1,2,3"; "in 2020 500 of them"
    r"(?:[0-9]{1,2},){2,}(?=[0-9]{1,2}$)|[0-9]{4,} "
)
_LONGEST_FRACTION = 100

# What makes a part of a greater whole out of the digits before or behind it.
_PART_BEFORE = re.compile(rf"(?:±|[)}}]\^\{{?[-+]?|[\w)}}{UNREADABLE}]\s?/\s?)$")
_NAME_BEFORE = re.compile(r"(?:^|[^A-Za-z\\])(?P<name>[A-Za-z]+)$|[_^]\{?[-+]?$")
_PART_BEHIND = re.compile(
    rf"\s?(?:\\pi|[α-ω√{UNREADABLE}])|\^|[A-Za-z_]+[0-9]|[kKMB](?![A-Za-z])|\s?/\s?\("
    r"|[万亿千百十](?![米克瓦分])|:[0-9]"
)
_AROUND_BEFORE = re.compile(r"(?:\s|\\boxed\s*\{|\\fbox\s*\{|\\text\s*\{|\\[(\[]|[{$*])*")
_AROUND_BEHIND = re.compile(r"(?:[\s.%€£¥₹$}*]|\\[)\]])*")


def parse_number(text: str) -> Decimal | None:
    r"""The number that is all the text says, but for a currency, a percent sign, a full stop, or the
    frame that LaTeX puts around it.

    >>> parse_number(" $1,080. "), parse_number("-7"), parse_number("7 apples")
    (Decimal('1080'), Decimal('-7'), None)
    >>> parse_number(r"\boxed{4{,}500}"), parse_number("1 1/2"), parse_number("1/3")
    (Decimal('4500'), Decimal('1.5'), None)
    """
    text = plain_text(text)
    mentions = list(_mentions(text))
    if len(mentions) != 1:
        return None
    (only,) = mentions
    is_all = _AROUND_BEFORE.fullmatch(text, 0, only.start) and _AROUND_BEHIND.fullmatch(
        text, only.end
    )
    return only.value if is_all else None


def last_number(text: str) -> Decimal | None:
    """The last number that the text mentions; None if that one cannot be read.

    >>> last_number("48/2 = 24, so 48 + 24 = 72 clips.")
    Decimal('72')
    """
    value = None
    for mention in _mentions(plain_text(text)):
        value = mention.value
    return value


def marked_number(text: str, marker: str = "####") -> Decimal | None:
    """The first number after the last marker, on its line: how GSM8K gives answers (Cobbe et al.
    2021).

    >>> marked_number("48 + 24 = <<48+24=72>>72\\n#### 72"), marked_number("72")
    (Decimal('72'), None)
    """
    _, found, rest = text.rpartition(marker)
    line = plain_text(rest.split("\n", 1)[0]) if found else ""
    return next((mention.value for mention in _mentions(line)), None)


class _Mention(NamedTuple):
    """Where a text speaks of a number, and which; None if it cannot be read as a whole."""

    start: int
    end: int
    value: Decimal | None


def _mentions(text: str) -> Iterator[_Mention]:
    """Mentions in order; digits of names, as in x_1 or H2O, are none."""
    for match in _MENTION.finditer(text):
        start, end = match.span()
        if match["unreadable"]:
            yield _Mention(start, end, None)
            continue
        before = text[max(start - 40, 0) : start]
        joined = match["joined"]
        if joined.startswith(".") and re.search(r"[\w.)]$", before):  # "No.5", "...5"
            joined = joined[1:]
        signs = (match["sign"] or "") + (match["inner_sign"] or "")
        if several := _SEVERAL.match(joined):  # the last of them
            start, joined, signs = start + several.end(), joined[several.end() :], ""
        is_part = _PART_BEFORE.search(before) or _PART_BEHIND.match(text, end)
        if not (match["sign"] or match["currency"] or is_part) and _NAME_BEFORE.search(before):
            continue
        value = None if is_part else _unsigned(joined, _SCALES.get(match["scale"], 0))
        is_negative = value is not None and signs.count("-") == 1
        yield _Mention(start, end, value.copy_negate() if is_negative else value)


def _unsigned(joined: str, scale: int) -> Decimal | None:
    """What digits and their joints say, times 10 to the ``scale``."""
    if match := _DECIMAL.fullmatch(joined):
        digits = re.sub("[,' _]", "", match["digits"])
        exponent = int(match["exponent"] or 0) + scale
        return Decimal(f"{digits}e{exponent}") if exponent else Decimal(digits)
    if match := _FRACTION.fullmatch(joined):
        return _terminating(match, scale) if len(joined) <= _LONGEST_FRACTION else None
    return None


def _terminating(match: re.Match, scale: int) -> Decimal | None:
    """A fraction, if its decimals come to an end."""
    whole, above, below = (int(match[part] or 0) for part in ("whole", "above", "below"))
    if below == 0 or (match["whole"] and above >= below):
        return None
    fraction = (whole + Fraction(above, below)) * 10**scale
    places = 0
    while fraction.denominator > 1:
        for prime in (2, 5):
            if fraction.denominator % prime == 0:
                break
        else:
            return None
        fraction, places = fraction * 10, places + 1
    return Decimal(f"{fraction.numerator}e-{places}") if places else Decimal(fraction.numerator)
