"""What mixtures of experts tell about their routing: sums that a caller collects.

A layer within a block that is recomputed, or compiled as one of a loop, cannot hand a number to the outside by a
side effect. What is recorded there is made an output of it, and recorded again (``through``).
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from tfalign.types import Array

_collector = contextvars.ContextVar("routing_sums", default=None)


class RoutingSums(NamedTuple):
    """Sums over real tokens and layers, float32[] each.

    ``loss / tokens`` is the load-balancing loss times its coefficient, ``balance / tokens`` without it, ``dropped /
    chosen`` the fraction of the experts chosen for a token that had no room for it.
    """

    loss: Array
    balance: Array
    tokens: Array
    dropped: Array
    chosen: Array


_NUMBERS = len(RoutingSums._fields)


@contextlib.contextmanager
def collected() -> Iterator[list[RoutingSums]]:
    """What mixtures of experts record while they are called (or traced) within: a list that grows."""
    records: list[RoutingSums] = []
    token = _collector.set(records)
    try:
        yield records
    finally:
        _collector.reset(token)


def is_collecting() -> bool:
    return _collector.get() is not None


def record(sums: RoutingSums) -> None:
    """Adds to the list of the innermost ``collected``; nothing without one."""
    if is_collecting():
        _collector.get().append(sums)


def total(records: list[RoutingSums]) -> RoutingSums:
    """The sums of several; zeros of none."""
    if not records:
        return RoutingSums(*[ops.zeros((), "float32")] * _NUMBERS)
    return RoutingSums(*(sum(column[1:], column[0]) for column in zip(*records)))


def with_sums(function: Callable[..., Any]) -> Callable[..., tuple[Any, Array]]:
    """A function that also returns what is recorded within, float32[5] of ``RoutingSums``, which is recorded no
    further."""

    def call(*arguments):
        with collected() as records:
            result = function(*arguments)
        return result, ops.stack(total(records))

    return call


def record_array(sums: Array) -> None:
    """Records what ``with_sums`` returned."""
    record(RoutingSums(*(sums[number] for number in range(_NUMBERS))))


def no_sums() -> Array:
    """float32[5] zeros, to add to."""
    return ops.zeros((_NUMBERS,), "float32")


def through(transform: Callable, function: Callable[..., Any]) -> Callable[..., Any]:
    """``transform(function)``, such as ``keras.remat``, out of which what is recorded finds its way."""
    if not is_collecting():
        return transform(function)
    transformed = transform(with_sums(function))

    def call(*arguments):
        result, sums = transformed(*arguments)
        record_array(sums)
        return result

    return call


@contextlib.contextmanager
def added_as_loss(layer: keras.layers.Layer) -> Iterator[None]:
    """Adds what is recorded within to the losses of a Keras layer, which ``fit`` minimises; nothing where a
    caller, such as ``training.Learner``, collects already."""
    if is_collecting():
        yield
        return
    with collected() as records:
        yield
    sums = total(records)
    layer.add_loss(sums.loss / ops.maximum(sums.tokens, 1.0))
