"""Strings that know which of their characters a chat template wrote itself.

A special token counts only where the template wrote all of its letters. Whatever comes from outside (a
message's fields, tools, documents) is an ordinary ``str``, and so is what an operation makes that is
not followed here: a letter is trusted only where its origin is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_FORMAT = re.compile(r"%(?:\((?P<key>\w+)\))?[-#0 +]*\d*(?:\.\d+)?[hlL]?(?P<kind>[a-zA-Z%])")


class Written(str):
    """A string, and for each character whether the template wrote it.

    Args:
        text: str.
        own: bytes, 1 for each character that the template wrote, else 0; None for none of them.

    >>> turn = written("<|im_") + "end|>" + written("<|im_end|>")
    >>> turn.replace("|", "").own
    b'\\x01\\x01\\x01\\x01\\x00\\x00\\x00\\x00\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01'
    """

    def __new__(cls, text: str = "", own: bytes | None = None) -> Written:
        self = super().__new__(cls, text)
        self._own = bytes(len(self)) if own is None else own  # hidden from the sandbox by its name
        return self

    @property
    def own(self) -> bytes:
        return self._own

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> Written:
        return join((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> Written:
        return join((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, times: int) -> Written:
        return Written(super().__mul__(times), self._own * times)

    __rmul__ = __mul__

    def __getitem__(self, index: int | slice) -> Written:
        if isinstance(index, int):
            text = super().__getitem__(index)
            index %= len(self)
            return Written(text, self._own[index : index + 1])
        return Written(super().__getitem__(index), self._own[index])

    def __mod__(self, values: Any) -> Written:
        return self._checked(super().__mod__(values), lambda: self._formatted(values))

    def join(self, texts: Iterable[str]) -> Written:
        return join(
            part for at, text in enumerate(texts) for part in ((self, text) if at else (text,))
        )

    def lstrip(self, chars: str | None = None) -> Written:
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None) -> Written:
        return self[: len(super().rstrip(chars))]

    def strip(self, chars: str | None = None) -> Written:
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str) -> Written:
        return self[len(prefix) :] if self.startswith(prefix) else self

    def removesuffix(self, suffix: str) -> Written:
        return self[: len(self) - len(suffix)] if suffix and self.endswith(suffix) else self

    def upper(self) -> Written:
        return self._as_long(super().upper())

    def lower(self) -> Written:
        return self._as_long(super().lower())

    def capitalize(self) -> Written:
        return self._as_long(super().capitalize())

    def title(self) -> Written:
        return self._as_long(super().title())

    def swapcase(self) -> Written:
        return self._as_long(super().swapcase())

    def replace(self, old: str, new: str, count: int = -1) -> Written:
        if not old:
            return Written(super().replace(old, new, count))
        new = new if isinstance(new, Written) else Written(new)
        return new.join(self.split(old, count))

    def split(self, sep: str | None = None, maxsplit: int = -1) -> list[Written]:
        return self._located(super().split(sep, maxsplit), len(sep or ""))

    def rsplit(self, sep: str | None = None, maxsplit: int = -1) -> list[Written]:
        return self._located(super().rsplit(sep, maxsplit), len(sep or ""))

    def splitlines(self, keepends: bool = False) -> list[Written]:
        lines = self._located(super().splitlines(True), 0)
        return lines if keepends else [line[: len(*str.splitlines(line))] for line in lines]

    def partition(self, sep: str) -> tuple[Written, Written, Written]:
        return self._three(self.find(sep), sep, (self, Written(), Written()))

    def rpartition(self, sep: str) -> tuple[Written, Written, Written]:
        return self._three(self.rfind(sep), sep, (Written(), Written(), self))

    def _three(self, at, sep, absent):
        end = at + len(sep)
        return absent if at < 0 else (self[:at], self[at:end], self[end:])

    def _as_long(self, text):
        return Written(text, self._own if len(text) == len(self) else None)

    def _located(self, parts, between):
        found, at = [], 0
        for part in parts:
            at = self.find(part, at)
            found.append(self[at : at + len(part)])
            at += len(part) + between
        return found

    def _formatted(self, values):
        """What % makes of it, specifier by specifier."""
        pieces, at, used = [], 0, 0
        for match in _FORMAT.finditer(self):
            pieces.append(self[at : match.start()])
            at = match.end()
            if match["kind"] == "%":
                pieces.append("%")
                continue
            value = values[match["key"]] if match["key"] else values
            if not match["key"] and isinstance(values, tuple):
                value, used = values[used], used + 1
            plain = match[0] == "%s" and isinstance(value, str)
            bare = "%" + match[0][match[0].find(")") + 1 :] if match["key"] else match[0]
            pieces.append(value if plain else str.__mod__(bare, (value,)))
        return join([*pieces, self[at:]])

    def _checked(self, text, attempt):
        """The attempt where it gives the very text, else the text, trusted nowhere."""
        try:
            made = attempt()
        except (TypeError, ValueError, LookupError):
            return Written(text)
        return made if made == text else Written(text)


def written(text: str) -> Written:
    """All of it the template's own."""
    return Written(text, b"\1" * len(text))


def join(texts: Iterable[str]) -> Written:
    """The texts one after another, each with its origin."""
    texts = list(texts)
    owns = [text.own if isinstance(text, Written) else bytes(len(text)) for text in texts]
    return Written("".join(texts), b"".join(owns))


def plain(text: str) -> str:
    """The same characters as an ordinary ``str``."""
    return str.__str__(text)
