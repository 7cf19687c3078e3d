"""Parameters of which a few are tried always, the others with --slow or, of many alike, a part of them alone."""

import itertools

import pytest


def marks(number, every):
    """Of a slow case: each n-th of them is slow, the others are exhaustive as well."""
    return [pytest.mark.slow] + [pytest.mark.exhaustive] * (number % every > 0)


def with_slow(values, fast, every=1):
    """For ``parametrize`` and ``params``: all values, those that are not ``fast`` marked slow.

    Args:
        values: the values of one parameter.
        fast: values that are tried always.
        every: int, n: of the slow ones each n-th is, the others are exhaustive.
    """
    params, number = [], 0
    for value in values:
        if value in fast:
            params.append(value)
            continue
        params.append(pytest.param(value, marks=marks(number, every)))
        number += 1
    return params


def one_in(number, *axes):
    """Values for a ``parametrize`` of several names: all combinations, one in so many marked slow, the others exhaustive.

    Which one moves on by one with every value of an axis, so that each value of one axis meets all of another's sooner
    or later.

    Args:
        number: int.
        axes: the values of each parameter.
    """
    params = []
    for places in itertools.product(*(range(len(axis)) for axis in axes)):
        values = (axis[place] for axis, place in zip(axes, places))
        params.append(pytest.param(*values, marks=marks(sum(places), number)))
    return params
