"""What XLA says of the programs it compiled: operations, memory and traffic, read from its own dumps.

``watch(folder)`` must come before TensorFlow or JAX compiles anything; ``programs(folder)`` then reads one
``Program`` for each. Both are those after all optimisations, so nothing counts that was left out as
unused, and memory is the buffer assignment the program runs with.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

_COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = \(?\w+\[([\d,]*)\]")
_DOT = re.compile(r" dot\(%(\S+), %\S+\).*lhs_contracting_dims=\{([\d,]*)\}")
_CALLED = re.compile(r"(body|calls|to_apply)=%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ALLOCATION = re.compile(r"^allocation \d+: size (\d+), (.*)$")
_COLLECTIVE = re.compile(r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all)(?:-start)?\(")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_NAMED_GROUP = re.compile(r"replica_groups=mesh\[(.*?)\].*? \{(.*?)\}")
_AXIS = re.compile(r"'(\w+)'=(\d+)")
_COUNTED_GROUP = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_LISTED_GROUP = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
_HINDRANCE = re.compile(
    r" (infeed|outfeed|send|recv)\(|custom_call_target=\"[^\"]*callback|\w\[[\d,]*<=\d"
)
_NAME = re.compile(r"^module_\d+\.(?:a_inference_(.+?)_\d+__Xla.*|jit_(.+?)\.cpu_after.*)")
_SUFFIX = ".cpu_after_optimizations.txt"


class Program(NamedTuple):
    """One compiled program."""

    name: str  # of the Python function
    flops: float  # of matrix products, two for a multiplication and an addition
    temporary: int  # bytes it needs besides its arguments: results, and what it keeps on the way
    arguments: int  # bytes
    sent: float  # bytes a device sends to others, each collective going round a ring
    hindrances: list[str]  # see the function


def watch(folder: str | os.PathLike) -> None:
    """Makes XLA write down what it compiles, in text, from now on.

    Args:
        folder: path, made where it is not there.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_dump_to={folder} --xla_dump_hlo_as_text"


def programs(folder: str | os.PathLike, trips: int = 1) -> list[Program]:
    """What was compiled so far, in order.

    Args:
        folder: path, as given to ``watch``.
        trips: int, rounds of loops whose number XLA does not know, such as the decode loop's.

    Returns:
        list of Program.
    """
    return [_program(file, trips) for file in sorted(Path(folder).glob(f"*{_SUFFIX}"))]


def _program(file, trips):
    name = _NAME.sub(r"\1\2", file.name)
    temporary = arguments = 0
    stem = file.name.removesuffix(".txt")
    for line in (file.parent / f"{stem}-buffer-assignment.txt").open(encoding="utf-8"):
        if match := _ALLOCATION.match(line):
            size, kind = int(match[1]), match[2]
            if kind.startswith("parameter"):
                arguments += size
            elif not kind.startswith(("thread-local", "constant")):
                temporary += size
    text = file.read_text(encoding="utf-8")
    flops, sent = flops_and_traffic(text, trips)
    return Program(name, flops, temporary, arguments, sent, hindrances(text))


def hindrances(text: str) -> list[str]:
    """What keeps an HLO module from running on an accelerator by itself: its lines that call the host, or
    have a dimension that is only known to be at most so much.

    >>> hindrances("%x = f32[<=8,4] add(%y, %z)")
    ['%x = f32[<=8,4] add(%y, %z)']
    """
    return [line.strip() for line in text.splitlines() if _HINDRANCE.search(line)]


def flops_and_traffic(text: str, trips: int = 1) -> tuple[float, float]:
    """Operations of the matrix products in an HLO module, and bytes that its collectives send.

    Args:
        text: str, the module.
        trips: int, see ``programs``.

    Returns:
        (float, float); of N bytes in the hands of P devices a ring sends 2 N (P - 1) / P for an
        all-reduce, N (P - 1) / P for an all-gather, a reduce-scatter (N before it) or an all-to-all.

    >>> flops_and_traffic('''
    ... ENTRY %main (x: f32[2,3], y: f32[3,5]) -> f32[2,5] {
    ...   %x = f32[2,3]{1,0} parameter(0)
    ...   %y = f32[3,5]{1,0} parameter(1)
    ...   %z = f32[2,5]{1,0} dot(%x, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}
    ...   ROOT %s = f32[2,5]{1,0} all-reduce(%z), replica_groups=[1,4]<=[4]
    ... }''')
    (60.0, 60.0)
    """
    own, calls, entry = {}, {}, None
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            current, shapes = match[1], {}
            own[current], calls[current] = np.zeros(2), []
            entry = current if line.startswith("ENTRY") else entry
        elif match := _INSTRUCTION.match(line):
            shapes[match[1]] = shape = _numbers(match[2])
            if dot := _DOT.search(line):
                summed = [shapes[dot[1]][axis] for axis in _numbers(dot[2])]
                own[current][0] += 2.0 * math.prod(shape) * math.prod(summed)
            own[current][1] += _sent(line)
            known = _TRIPS.search(line)
            for how, called in _CALLED.findall(line):
                rounds = 1 if how != "body" else int(known[1]) if known else trips
                calls[current].append((called, rounds))

    def total(name):
        return own[name] + sum(rounds * total(called) for called, rounds in calls[name])

    flops, sent = total(entry)
    return float(flops), float(sent)


def _sent(line):
    """Bytes a collective sends."""
    found = _COLLECTIVE.search(line)
    if not found:
        return 0.0
    size = sum(
        _BYTES[kind] * math.prod(_numbers(shape)) for kind, shape in _ARRAY.findall(found[1])
    )
    devices = _group_size(line)
    times = {"all-reduce": 2, "reduce-scatter": devices}.get(
        found[2], 1
    )  # what it says is the result
    return times * size * (devices - 1) / devices


def _group_size(line):
    """Devices that a collective joins, in any of the ways XLA writes them down."""
    if named := _NAMED_GROUP.search(line):
        sizes = dict(_AXIS.findall(named[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", named[2]))
    if counted := _COUNTED_GROUP.search(line):
        return int(counted[1])
    if listed := _LISTED_GROUP.search(line):
        return len(listed[1].split(","))
    raise ValueError(f"A collective of unknown devices. Received: {line.strip()[:400]}")


def _numbers(text):
    return [int(number) for number in text.split(",") if number]
