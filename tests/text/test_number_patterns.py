"""Intervals of numbers as regular expressions: all numbers of small ranges, one by one."""

from __future__ import annotations

import json
import random
import re
from fractions import Fraction

import jsonschema
import pytest

from tfalign.text.json_patterns import json_pattern
from tfalign.text.number_patterns import integer_pattern

ALL = range(-230, 231)


def matched(pattern, texts):
    return [] if pattern is None else [text for text in texts if re.fullmatch(pattern, text)]


def test_every_integer_of_small_ranges():
    draw = random.Random(0)
    pairs = [(draw.choice(ALL), draw.choice(ALL)) for _ in range(300)]
    pairs += [(low, high) for low in range(-12, 13) for high in range(-12, 13)]
    pairs += [(low, None) for low in ALL[::7]] + [(None, high) for high in ALL[::7]]
    for low, high in [*pairs, (None, None)]:
        wanted = [n for n in ALL if (low is None or low <= n) and (high is None or n <= high)]
        found = matched(integer_pattern(low, high), map(str, ALL))
        assert found == [str(n) for n in wanted], (low, high)


@pytest.mark.parametrize("low", [-1000, -1, 0, 1, 99, 100, 2**63 - 100, 10**20 - 3])
def test_around_the_bounds_of_long_integers(low):
    for high in (low, low + 5, 10 * abs(low) + 17, 2**70):
        near = [n + step for n in (low, high, 0) for step in range(-3, 4)]
        pattern = integer_pattern(low, high)
        for n in near:
            assert bool(re.fullmatch(pattern, str(n))) == (low <= n <= high), (low, high, n)
    for text in ("-0", "00", "01", "+1", "1.0", "1e2", ""):
        assert not re.fullmatch(integer_pattern(None, None), text)


NAMES = [("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"), ("minimum", None)]
NAMES += [(None, "exclusiveMaximum"), ("exclusiveMinimum", "maximum")]


@pytest.mark.parametrize("names", NAMES)
def test_every_decimal_of_small_ranges(names):
    """With up to two digits behind the point, between bounds of up to three."""
    texts = [
        f"{sign}{n / 10**places:.{places}f}"
        for places in range(3)
        for n in range(310)
        for sign in ("", "-")
    ]
    texts = [text for text in texts if float(text) or not text.startswith("-")]
    draw = random.Random(str(names))
    for _ in range(25):
        bounds = sorted(draw.randrange(-3500, 3500) / 10 ** draw.randrange(3, 5) for _ in range(2))
        bounds = [round(bound, draw.randrange(4)) for bound in bounds]
        if bounds[1] - bounds[0] < 0.01:
            continue
        schema = {"type": "number"} | {name: x for name, x in zip(names, bounds) if name}
        judge = jsonschema.Draft202012Validator(schema)
        wanted = [text for text in texts if judge.is_valid(json.loads(text))]
        assert matched(json_pattern(schema), texts) == wanted, schema


@pytest.mark.parametrize(
    "bound", [0, 1, -1, 0.1, 0.1 + 0.2, 123456.75, -2.5, 10**14, 2.0**53, 1e300]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_as_close_to_a_bound_as_can_be_written(bound, sign):
    """Its float64 is not the bound itself where that is left out."""
    name = "exclusiveMinimum" if sign > 0 else "exclusiveMaximum"
    pattern = json_pattern({"type": "number", name: bound})
    exact = Fraction(str(bound) if abs(bound) < 10**15 else bound)
    places = max(15 - len(str(abs(int(exact)))), 0)
    found = False
    for step in range(3):
        n = round(exact * 10**places) + sign * step
        whole, rest = divmod(abs(n), 10**places)
        text = "-" * (n < 0) + f"{whole}" + (f".{rest:0{places}}" if places else "")
        if re.fullmatch(pattern, text):
            found = True
            assert sign * json.loads(text) > sign * bound
    assert found
