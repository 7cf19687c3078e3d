"""Parameters of which a few are tried always, the others with --slow or, of many alike, a part of them alone."""

import itertools

import pytest


def with_slow(values, fast):
    """For ``parametrize`` and ``params``: all values, those that are not ``fast`` marked slow.

    Args:
        values: the values of one parameter.
        fast: values that are tried always.
    """
    return [
        value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values
    ]


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
        marks = [pytest.mark.slow] + [pytest.mark.exhaustive] * (sum(places) % number > 0)
        params.append(pytest.param(*(x[i] for x, i in zip(axes, places)), marks=marks))
    return params
