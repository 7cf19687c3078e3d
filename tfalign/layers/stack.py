"""A stack of blocks, in a program either block after block or as one block in a loop (a scan).

A program with every block written out grows with the depth, and so does the time it takes to compile. In a scan
one block is compiled, which computes with the weights of each in turn. Every block keeps its own variables: the
program stacks their values first, a copy of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfalign import backend
from tfalign.layers.blocks import ResidualBlock, recomputed_whole
from tfalign.layers.routing import is_collecting, no_sums, record_array, through, with_sums
from tfalign.types import Array

# ``ResidualBlock.scan`` = None: from this many equal blocks on, and never where it was not measured to pay
# (docs/results/depth.md)
SCANNED_FROM = {"jax": 24}
_LONGEST_PERIOD = 8


def run_blocks(
    blocks: Sequence[ResidualBlock], x: Array, arguments: Sequence[Mapping[str, Any]]
) -> Array:
    """Calls blocks one after another, those of equal structure in a loop where ``ResidualBlock.scan`` says so.

    Blocks are equal in structure if their layers, sizes and arguments are, also if that repeats after a few: every
    second block windowed, every fourth without positions. Blocks that drop something out and those behind the last
    whole repetition are called one by one; so are all of them outside of a program that is being compiled.

    Args:
        blocks: ResidualBlocks, built.
        x: float[B, T, W], what the first one gets.
        arguments: a dict each, the other arguments of its call; None is as if it was not there.

    Returns:
        float[B, T, W], or what the last block makes of it.
    """
    arguments = [{k: v for k, v in given.items() if v is not None} for given in arguments]
    period, scanned = 1, 0
    if _may_scan(blocks, x):
        period, scanned = repetition([_Structure(*pair) for pair in zip(blocks, arguments)])
    if scans(scanned):
        x = _in_a_loop(blocks[:scanned], x, arguments[:period])
        blocks, arguments = blocks[scanned:], arguments[scanned:]
    for block, given in zip(blocks, arguments):
        x = block(x, **given)
    return x


def repetition(structures: Sequence[Any]) -> tuple[int, int]:
    """The period after which a sequence repeats itself from its beginning on, and for how long it does so.

    Args:
        structures: list of what can be compared.

    Returns:
        (period, length), of all periods the one whose whole repetitions, two or more, cover most; of those the
        shortest. Length 0 if there is none.

    >>> repetition("aaaaab"), repetition("ababa"), repetition("abc")
    ((1, 5), (2, 4), (1, 0))
    """
    found = (1, 0)
    for period in range(1, min(_LONGEST_PERIOD, len(structures) // 2) + 1):
        length = period
        while length < len(structures) and structures[length] == structures[length - period]:
            length += 1
        length -= length % period
        if length > max(period, found[1]):
            found = (period, length)
    return found


def scans(count: int) -> bool:
    """Whether so many equal blocks are to be compiled as one in a loop."""
    if ResidualBlock.scan is None:
        measured = keras.distribution.distribution() is None  # not on a mesh of devices
        return measured and count >= SCANNED_FROM.get(keras.backend.backend(), math.inf)
    return ResidualBlock.scan and count > 1


def _may_scan(blocks, x):
    is_masked = getattr(x, "_keras_mask", None) is not None  # Keras would lose it in the loop
    return scans(len(blocks)) and not is_masked and not backend.has_value(x)


class _Structure:
    """What two calls of blocks must have in common to be one, but for their weights' values."""

    def __init__(self, block, arguments):
        self._block = block
        self._layers = block._flatten_layers()
        self._arguments = {name: id(value) for name, value in arguments.items()}
        rates = [x.rate for x in self._layers if isinstance(x, keras.layers.Dropout)]
        dtypes = {layer.compute_dtype for layer in self._layers}
        self._is_fit = not (arguments.get("training") and any(rates)) and len(dtypes) == 1

    def __eq__(self, other):
        return (
            self._is_fit
            and self._arguments == other._arguments
            and self._block.remat == other._block.remat
            and _shapes(self._block) == _shapes(other._block)
            and len(self._layers) == len(other._layers)
            and all(_same_kind(*pair) for pair in zip(self._layers, other._layers))
        )

    __hash__ = None


def _shapes(block):
    return [(v.name, tuple(v.shape), v.dtype) for v in block.variables]


def _same_kind(layer, other):
    if type(layer) is not type(other):
        return False
    try:
        return _nameless(layer.get_config()) == _nameless(other.get_config())
    except NotImplementedError:  # somebody's layer that cannot be saved: nothing is known of it
        return False


def _nameless(config):
    if isinstance(config, dict):
        return {key: _nameless(value) for key, value in config.items() if key != "name"}
    return config


def _in_a_loop(blocks, x, arguments):
    """The blocks, as many of them in a round as there are arguments."""
    period = len(arguments)
    model = blocks[:period]  # whose calls are compiled, with the weights of each round
    variables = _variables(model)
    rounds = [_variables(blocks[i : i + period]) for i in range(0, len(blocks), period)]
    differentiable = {}  # arrays beside x: an encoder's output
    for given in arguments:
        differentiable |= {id(v): v for v in given.values() if _is_float(v)}

    def call(x, values, others):
        others = dict(zip(differentiable, others))
        with keras.StatelessScope(zip(variables, values)):
            for block, given in zip(model, arguments):
                x = block(x, **{k: others.get(id(v), v) for k, v in given.items()})
        return x

    def recomputed(x, values, others):
        def flat(x, *arrays):
            with recomputed_whole():
                return call(x, arrays[: len(values)], arrays[len(values) :])

        return through(keras.remat, flat)(x, *values, *others)

    step = recomputed if any(block.remat for block in model) else call
    others = list(differentiable.values())
    rows = [[v.value for v in of_round] for of_round in rounds]
    if not is_collecting():
        return backend.scan(lambda x, values: step(x, values, others), x, rows)
    counted = with_sums(step)

    def round_with_sums(carried, values):
        x, sums = counted(carried[0], values, others)
        return x, carried[1] + sums

    x, sums = backend.scan(round_with_sums, (x, no_sums()), rows)
    record_array(sums)
    return x


def _variables(blocks):
    return [variable for block in blocks for variable in block.variables]


def _is_float(value):
    return (
        "float" in keras.backend.standardize_dtype(value.dtype)
        if hasattr(value, "dtype")
        else False
    )
