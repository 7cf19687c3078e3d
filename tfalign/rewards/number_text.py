r"""A text in which numbers are written as on a typewriter, whatever alphabet or LaTeX they came in."""

from __future__ import annotations

import re
import unicodedata

UNREADABLE = "\x01"  # stands for what no decimal is: a root, a fraction of letters, a date

_HALF = "\x02"  # stands before a fraction that was one character

_CHARACTERS = {
    **dict.fromkeys(
        "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a", " "
    ),
    **dict.fromkeys("\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", ""),  # of no width
    **dict.fromkeys("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", ""),
    **dict.fromkeys("\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2019\u02bc\uff07", "'"),
    **dict.fromkeys("\u2044\u2215\uff0f", "/"),
    **dict(zip("＋．％＄：＾＿\u066b\u066c", "+.%$:^_.,")),
    UNREADABLE: "",
    _HALF: "",
}
_SUPERSCRIPT = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
_SUBSCRIPT = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789"))

_ARGUMENT = r"\s*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|[0-9])"
_NUMERIC = r"\s*(?:\{\s*(-?[0-9]+)\s*\}|([0-9]))"
_LATEX = (  # in this order
    (re.compile(r"\\!|\\left|\\right|\\displaystyle"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), "°"),
    (re.compile(r"\\[,;: ]|\\thinspace|~"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"(?<=[0-9])\s*\\[dtc]?frac" + _NUMERIC * 2), r" \1\2/\3\4"),
    (re.compile(r"\\[dtc]?frac" + _NUMERIC * 2), r"\1\2/\3\4"),
    (
        re.compile(
            rf"\\(?:sqrt(?:\[[^\]]{0, 99}\])?|[dtc]?frac{_ARGUMENT}|binom{_ARGUMENT}){_ARGUMENT}"
        ),
        UNREADABLE,
    ),
    (re.compile(r"√\s?(?:[0-9.,]+|\([^)]{0,99}\))"), UNREADABLE),
    (
        re.compile(r"(?<=[0-9])\s*(?:\\times|\\cdot|[×x*·])\s*10\s*\^\s*\{?([-+]?[0-9]+)\}?"),
        r"e\1",
    ),
)
_ISO_DATE = re.compile(r"(?<![\w-])[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?![0-9-])")
_WIDE_COMMA = re.compile(r"(?<=[0-9])\uff0c(?=[0-9]{3}(?![0-9]))")  # else it stands between numbers


def plain_text(text: str) -> str:
    r"""A text with ASCII digits, signs and separators, without LaTeX around them.

    >>> plain_text("４，５００"), plain_text(r"$4\,500$"), plain_text(r"\dfrac{3}{4}"), plain_text("1½")
    ('4,500', '$4 500$', '3/4', '1 1/2')
    """
    if not text.isascii():
        text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda run: "^" + _spelled(run[0], _SUPERSCRIPT), text)
        text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda run: "_" + _spelled(run[0], _SUBSCRIPT), text)
        text = "".join(map(_plain, text))
        text = re.sub(f"(?<=[0-9]){_HALF}", " ", text).replace(_HALF, "")
        text = _WIDE_COMMA.sub(",", text)
    text = _ISO_DATE.sub(UNREADABLE, text)
    if "\\" in text or "{" in text or "~" in text or "10" in text or "√" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text


def _spelled(run, table):
    return "".join(table[character] for character in run)


def _plain(character):
    if character.isascii():
        return _CHARACTERS.get(character, character)
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(character) == "No":
        spelled = unicodedata.normalize("NFKC", character)
        if re.fullmatch("[0-9]+\u2044[0-9]+", spelled):  # a half
            return _HALF + spelled.replace("\u2044", "/")
    return character
