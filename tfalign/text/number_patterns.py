r"""Intervals of numbers as regular expressions of the JSON that lies within: by their digits, exactly.

An integer is written without a point. A number is written with at most ``DIGITS`` digits on both sides of the point,
counted at its longer bound, and without an exponent: so its nearest float64 lies within the bounds as well, also where
they are exclusive.
"""

from __future__ import annotations

import math
from fractions import Fraction

DIGITS = 15  # of decimals, of which no two are the same float64


def integer_pattern(least: int | None, most: int | None) -> str | None:
    r"""The regular expression of all integers from ``least`` to ``most``; None where there is none.

    Args:
        least, most: int; None for no bound.

    >>> integer_pattern(-3, 12)
    '(-(1|2|3)|([0-9]{1}|(1(0|1|2))))'
    """
    return _signed(least, most, _whole)


def number_pattern(
    low: Fraction | None, high: Fraction | None, is_open: tuple[bool, bool] = (False, False)
) -> str | None:
    r"""The regular expression of decimals from ``low`` to ``high``; None where there is none.

    Args:
        low, high: Fraction; None for no bound.
        is_open: whether ``low`` and ``high`` themselves are left out.

    >>> import re
    >>> between = number_pattern(Fraction(1, 2), Fraction(2), (False, True))
    >>> [text for text in ("0.49", "0.5", "1", "1.999", "2") if re.fullmatch(between, text)]
    ['0.5', '1', '1.999']
    """
    largest = max(abs(int(bound)) for bound in (low, high, 0) if bound is not None)
    places = max(DIGITS - len(str(largest)), 0)
    least, most = whole_bounds(low, high, is_open, 10**places)
    return _signed(least, most, lambda a, b: _decimal(a, b, places))


def whole_bounds(
    low: Fraction | None, high: Fraction | None, is_open: tuple[bool, bool], scale: int = 1
) -> tuple[int | None, int | None]:
    """The first and the last integer n for which n / scale lies within the bounds; None for no bound.

    >>> whole_bounds(Fraction(2), Fraction(7, 2), (True, False))
    (3, 3)
    """
    least = most = None
    if low is not None:
        least = math.floor(low * scale) + 1 if is_open[0] else math.ceil(low * scale)
    if high is not None:
        most = math.ceil(high * scale) - 1 if is_open[1] else math.floor(high * scale)
    return least, most


def _signed(least, most, of):
    """Of the integers from least to most, where ``of(a, b)`` is the pattern of 0 <= a to b, or of a and more."""
    parts = []
    if least is None or least < 0:
        parts.append(("-", 1 if most is None else max(1, -most), None if least is None else -least))
    if most is None or most >= 0:
        parts.append(("", 0 if least is None else max(0, least), most))
    return _either([sign + of(a, b) for sign, a, b in parts if b is None or a <= b])


def _whole(least, most):
    """Of integers from 0 <= least to most, or of all from least on."""
    count = len(str(least))
    if most is None:
        return _either([_between(str(least), "9" * count), f"[1-9][0-9]{{{count},}}"])
    longest = len(str(most))
    if count == longest:
        return _between(str(least), str(most))
    parts = [_between(str(least), "9" * count), _between(f"1{'0' * (longest - 1)}", str(most))]
    if count + 1 < longest:
        parts.append(f"[1-9][0-9]{{{count},{longest - 2}}}")
    return _either(parts)


def _decimal(least, most, places):
    """Of n / 10**places for all n from 0 <= least to most, or from least on."""
    scale = 10**places
    whole, rest = divmod(least, scale)
    last, last_rest = (None, scale - 1) if most is None else divmod(most, scale)
    if whole == last:
        return f"{whole}{_behind_point(rest, last_rest, places)}"
    parts = [f"{whole}{_behind_point(rest, scale - 1, places)}"]
    if last is None or whole + 1 < last:
        inner = _whole(whole + 1, None if last is None else last - 1)
        parts.append(inner + _behind_point(0, scale - 1, places))
    if last is not None:
        parts.append(f"{last}{_behind_point(0, last_rest, places)}")
    return _either(parts)


def _behind_point(least, most, places):
    """Of the point and what stands behind it, from least to most; where least is 0, of nothing as well."""
    if not places:
        return ""
    pattern = rf"\.{_between(f'{least:0{places}}', f'{most:0{places}}', may_stop=True)}"
    return pattern if least else f"({pattern})?"


def _between(least, most, may_stop=False):
    """Of strings of digits from least to most, which are as long; of one digit and more where zeros at the end may be
    missing."""
    size = len(least)
    if not size:
        return ""
    if set(least) == {"0"} and set(most) == {"9"}:
        return f"[0-9]{{{'1,' * may_stop}{size}}}"
    zeros, nines = "0" * (size - 1), "9" * (size - 1)
    first, last = int(least[0]), int(most[0])
    if first == last:
        parts = [(first, first, least[1:], most[1:])]
    else:
        parts = [(first, first, least[1:], nines), (first + 1, last - 1, zeros, nines)]
        parts.append((last, last, zeros, most[1:]))
    return _either([_digit(*part, may_stop) for part in parts if part[0] <= part[1]])


def _digit(first, last, least, most, may_stop):
    """A digit from first to last, and what follows it from least to most."""
    digit = str(first) if first == last else f"[{first}-{last}]"
    rest = _between(least, most, may_stop)
    return f"{digit}({rest})?" if rest and may_stop and not int(least) else digit + rest


def _either(patterns):
    return f"({'|'.join(patterns)})" if patterns else None
