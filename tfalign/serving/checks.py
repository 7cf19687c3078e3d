"""What numbers must be, said in one sentence: of constructors, flags and requests alike."""

from __future__ import annotations

from typing import Any

MOST_BIAS = 100  # of a token's logit, as OpenAI has it
MOST_PENALTY = 2  # of tokens that a response has already, either way, as OpenAI has it
_SHOWN = 60  # characters of a value that a sentence repeats


def shown(value: Any) -> str:
    """A value as it stands in an error's sentence: ASCII, and not too long."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """The value, a whole number between both bounds.

    >>> check_whole("rows", 0, 1)
    Traceback (most recent call last):
    ValueError: rows must be a whole number of at least 1. Received: rows=0

    Raises:
        ValueError: if it is not one; true and false are none.
    """
    if type(value) is int and value >= least and (most is None or value <= most):
        return value
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name} must be a whole number {limits}. Received: {name}={shown(value)}")


def check_sizes(**sizes: int) -> None:
    """Raises a ValueError that names the first one that is not a positive whole number."""
    for name, value in sizes.items():
        check_whole(name, value, 1)


def check_number(name: str, value: Any, least: float, most: float) -> float:
    """The value, a number between both bounds.

    Raises:
        ValueError: if it is not one; NaN, true and false are none.
    """
    if type(value) in (int, float) and least <= value <= most:
        return value
    raise ValueError(
        f"{name} must be a number from {least} to {most}. Received: {name}={shown(value)}"
    )


def check_ids(name: str, value: Any, vocab_size: int) -> list[int]:
    """The value, a list of tokens' ids, which may be empty.

    Raises:
        ValueError: if it is not one, naming the first place that is wrong.
    """
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list of token ids. Received: {name}={shown(value)}")
    for place, token_id in enumerate(value):
        if type(token_id) is not int or not 0 <= token_id < vocab_size:
            raise ValueError(
                f"A token's id must be in [0, {vocab_size})."
                f" Received: {name}[{place}]={shown(token_id)}"
            )
    return value
