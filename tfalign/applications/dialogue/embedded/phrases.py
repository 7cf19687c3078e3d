"""What the language of an embedded world consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Phrases(NamedTuple):
    """A language's restaurants and sentences; values stand in them as placeholders, "[food]"."""

    language: str
    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]  # of food, area, pricerange
    absent: tuple[str, ...]  # foods that no restaurant has
    streets: tuple[str, ...]
    address: str  # with {street} and {number}
    phone: str  # with {number}
    postcode: str  # with {number}
    begin: tuple[str, ...]  # with {wish}, a user's first words
    wishes: Mapping[str, tuple[str, ...]]  # slot -> within the first words
    later: Mapping[str, tuple[str, ...]]  # slot -> sentences of a user
    dontcare: Mapping[str, tuple[str, ...]]
    ask: Mapping[str, tuple[str, ...]]  # requestable slot -> sentences of a user
    bye: tuple[str, ...]
    offer: tuple[str, ...]  # the system's, from here on
    request: Mapping[str, tuple[str, ...]]
    none: tuple[str, ...]
    tell: Mapping[str, tuple[str, ...]]
    welcome: tuple[str, ...]
