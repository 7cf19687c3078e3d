"""Numbers as people write them in answers: 1,080 and $3.50 and -7 and 50%.

All readers take a text and return a ``decimal.Decimal``, which is exact, or None where there is no
number to be read.
"""

from __future__ import annotations

import re
from decimal import Decimal

# A sign counts where it cannot be an operator: "x=-5" holds -5, "8-5" and "pages 8-5" hold 5.
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)%])[-+\u2212])?"
    r"(?:[$€£¥]\s?(?P<inner_sign>[-+\u2212])?)?"
    r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)
_AROUND = re.compile(r"[\s.%€£¥$]*")  # may follow a number that stands alone


def parse_number(text):
    """The number that is all the text says, but for a currency, a percent sign or a full stop.

    >>> parse_number(" $1,080. "), parse_number("-7"), parse_number("7 apples")
    (Decimal('1080'), Decimal('-7'), None)
    """
    text = text.strip()
    match = _NUMBER.match(text)
    if match is None or not _AROUND.fullmatch(text, match.end()):
        return None
    return _value(match)


def last_number(text):
    """The last number that the text mentions.

    >>> last_number("48/2 = 24, so 48 + 24 = 72 clips.")
    Decimal('72')
    """
    matches = list(_NUMBER.finditer(text))
    return _value(matches[-1]) if matches else None


def marked_number(text, marker="####"):
    """The first number after the last marker, on its line: how GSM8K gives answers (Cobbe et al.
    2021).

    >>> marked_number("48 + 24 = <<48+24=72>>72\\n#### 72"), marked_number("72")
    (Decimal('72'), None)
    """
    _, found, rest = text.rpartition(marker)
    match = _NUMBER.search(rest.split("\n", 1)[0]) if found else None
    return None if match is None else _value(match)


def _value(match):
    signs = (match["sign"] or "") + (match["inner_sign"] or "")
    negative = sum(sign in "-\u2212" for sign in signs) % 2 == 1
    value = Decimal(match["digits"].replace(",", ""))
    return value.copy_negate() if negative else value
