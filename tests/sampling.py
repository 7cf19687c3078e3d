"""Parameters of which a few are tried always, the others with --slow."""

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
