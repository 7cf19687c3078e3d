"""Sizes that callers give, checked where they come in."""

from __future__ import annotations

import numbers
from typing import Any


def is_whole(value: Any, least: int, most: int | None = None) -> bool:
    """Whether a value is a whole number of a range; 16.0 is none, and neither is True."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        return False
    return value >= least and (most is None or value <= most)


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A size as an int.

    Args:
        name: the argument's name, for the message.
        value: what was given.
        least, most: the range; None for no upper end.

    Raises:
        ValueError: if it is no whole number of the range.

    >>> whole_number("batch_size", 8, least=1)
    8
    """
    if not is_whole(value, least, most):
        wanted = "positive and whole" if least == 1 else f"a whole number, at least {least}"
        upper = "" if most is None else f" and at most {most}"
        raise ValueError(f"{name} must be {wanted}{upper}. Received: {name}={value!r}")
    return int(value)
