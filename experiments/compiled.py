"""What XLA says of the programs it compiled: operations and memory, read from its own dumps.

``watch(folder)`` must come before TensorFlow compiles anything; ``programs(folder)`` then reads one
``Program`` for each. Both are those after all optimisations, so nothing counts that was left out as
unused, and memory is the buffer assignment the program runs with.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = \(?\w+\[([\d,]*)\]")
_DOT = re.compile(r" dot\(%(\S+), %\S+\).*lhs_contracting_dims=\{([\d,]*)\}")
_CALLED = re.compile(r"(body|calls|to_apply)=%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ALLOCATION = re.compile(r"^allocation \d+: size (\d+), (.*)$")
_SUFFIX = ".cpu_after_optimizations.txt"


class Program(NamedTuple):
    """One compiled program."""

    name: str  # of the Python function
    flops: float  # of matrix products, two for a multiplication and an addition
    temporary: int  # bytes it needs besides its arguments: results, and what it keeps on the way
    arguments: int  # bytes


def watch(folder):
    """Makes XLA write down what it compiles, in text, from now on.

    Args:
        folder: path, made where it is not there.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_dump_to={folder} --xla_dump_hlo_as_text"


def programs(folder, trips=1):
    """What was compiled so far, in order.

    Args:
        folder: path, as given to ``watch``.
        trips: int, rounds of loops whose number XLA does not know, such as the decode loop's.

    Returns:
        list of Program.
    """
    return [_program(file, trips) for file in sorted(Path(folder).glob(f"*{_SUFFIX}"))]


def _program(file, trips):
    name = re.sub(r"^module_\d+\.a_inference_(.+?)_\d+__Xla.*", r"\1", file.name)
    temporary = arguments = 0
    stem = file.name.removesuffix(".txt")
    for line in (file.parent / f"{stem}-buffer-assignment.txt").open(encoding="utf-8"):
        if match := _ALLOCATION.match(line):
            size, kind = int(match[1]), match[2]
            if kind.startswith("parameter"):
                arguments += size
            elif not kind.startswith(("thread-local", "constant")):
                temporary += size
    return Program(name, flops_of(file.read_text(encoding="utf-8"), trips), temporary, arguments)


def flops_of(text, trips=1):
    """Operations of the matrix products in an HLO module.

    Args:
        text: str, the module.
        trips: int, see ``programs``.

    Returns:
        float.

    >>> flops_of('''
    ... ENTRY %main (x: f32[2,3], y: f32[3,5]) -> f32[2,5] {
    ...   %x = f32[2,3]{1,0} parameter(0)
    ...   %y = f32[3,5]{1,0} parameter(1)
    ...   ROOT %z = f32[2,5]{1,0} dot(%x, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}
    ... }''')
    60.0
    """
    own, calls, entry = {}, {}, None
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            current, shapes = match[1], {}
            own[current], calls[current] = 0.0, []
            entry = current if line.startswith("ENTRY") else entry
        elif match := _INSTRUCTION.match(line):
            shapes[match[1]] = shape = _numbers(match[2])
            if dot := _DOT.search(line):
                summed = [shapes[dot[1]][axis] for axis in _numbers(dot[2])]
                own[current] += 2.0 * math.prod(shape) * math.prod(summed)
            known = _TRIPS.search(line)
            for how, called in _CALLED.findall(line):
                rounds = 1 if how != "body" else int(known[1]) if known else trips
                calls[current].append((called, rounds))

    def total(name):
        return own[name] + sum(rounds * total(called) for called, rounds in calls[name])

    return total(entry)


def _numbers(text):
    return [int(number) for number in text.split(",") if number]
