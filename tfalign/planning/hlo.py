"""What a compiled program does, read from its HLO text: operations, traffic, cycles, what hinders it.

Loops count as often as they go round, of a conditional's branches the largest. Operations are those of matrix
products, as in ``training.step_costs``; a TPU's compiler writes them as convolutions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import NamedTuple

import numpy as np

_COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = \(?\w+\[([\d,]*)\]")
_DOT = re.compile(r" dot\(%(\S+), %\S+\).*lhs_contracting_dims=\{([\d,]*)\}")
_CONVOLUTION = re.compile(r" convolution\(%(\S+), %(\S+)\)(.*) dim_labels=(\w+)_(\w+)->(\w+)")
_WINDOW = re.compile(r"window=\{([^}]*)\}")
_SPLASH = re.compile(r"splash_\w+?_(fwd|dkv|dq)_.*operand_layout_constraints=\{(.*)")
_PRODUCTS = {"fwd": 2, "dkv": 4, "dq": 3}  # of queries, keys, values and gradients with each other
_PARTS = re.compile(r" = .*\[\d+(?:,\d+){4}\].* custom-call\(")  # dq, of each block of keys
_HEADS = re.compile(r"(?:bf16|f32)\[(\d+),(\d+),(\d+),(\d+)\]")
_KERNEL = re.compile(r'"cost_estimate":\{[^}]*"flops":"?(\d+)')  # of a custom call
_CALLED = re.compile(r"(body|calls|to_apply)=%([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%([\w.\-]+)")
_LOOP = re.compile(r" while\(%(\S+)\), condition=%([\w.\-]+), body=%([\w.\-]+)")
_SUM = re.compile(r"%(\S+) = [su]32\[\]\S* add\(%(\S+), %(\S+)\)")
_NUMBER = re.compile(r"%(\S+) = [su]32\[\]\S* (?:constant\((\d+)\)|copy\(%(\S+)\))")
_ELEMENT = re.compile(r"%(\S+) = [su]32\[\]\S* get-tuple-element\(%\S+\), index=(\d+)")
_TUPLE = re.compile(r"%(\S+) = .* tuple\((.*?)\)")
_BELOW = re.compile(r"ROOT %\S+ = pred\[\]\S* compare\(%(\S+), %(\S+)\), direction=LT")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d{1,15})"')
_COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
_PIECE = re.compile(r"channel_id=(\d+),.*chain_id=")  # of a collective that goes on beside others
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_NAMED_GROUP = re.compile(r"replica_groups=mesh\[(.*?)\].*? \{(.*?)\}")
_AXIS = re.compile(r"'(\w+)'=(\d+)")
_COUNTED_GROUP = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_LISTED_GROUP = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_BYTES = {"pred": 1, "bf16": 2} | {f"{k}{8 * n}": n for k in "suf" for n in (1, 2, 4, 8)}
_HINDRANCE = re.compile(
    r" (infeed|outfeed|send|recv)\(|custom_call_target=\"[^\"]*callback|\w\[[\d,]*<=\d"
)


class Work(NamedTuple):
    """What one run of a program does, on each device."""

    flops: float  # of matrix products, two for a multiplication and an addition
    sent: dict[str, float]  # bytes a device sends to others, by kind of collective
    collectives: dict[str, float]  # how many there are, by kind
    cycles: float  # by the compiler's estimate, where it makes one
    kernels: float = 0.0  # written by hand, such as attention's, that do not say their operations
    kernel_flops: float = 0.0  # of those that are splash attention, were no tile left out

    @property
    def total_sent(self) -> float:
        return sum(self.sent.values())


def hindrances(text: str) -> list[str]:
    """What keeps an HLO module from running on an accelerator by itself: its lines that call the host, or
    have a dimension that is only known to be at most so much.

    >>> hindrances("%x = f32[<=8,4] add(%y, %z)")
    ['%x = f32[<=8,4] add(%y, %z)']
    """
    return [line.strip() for line in text.splitlines() if _HINDRANCE.search(line)]


def work_of(text: str, trips: int | None = 1) -> Work:
    """What an HLO module does.

    Args:
        text: str, the module.
        trips: int, rounds of loops whose number the module does not say, such as the decode loop's; None for one round
            of every loop. It says it of loops that count, as these do that ``jax.lax`` makes.

    Returns:
        Work; of N bytes in the hands of P devices a ring sends 2 N (P - 1) / P for an all-reduce, N (P - 1) / P
        for an all-gather, a reduce-scatter (N before it) or an all-to-all, and N for a collective-permute.

    >>> done = work_of('''
    ... ENTRY %main (x: f32[2,3], y: f32[3,5]) -> f32[2,5] {
    ...   %x = f32[2,3]{1,0} parameter(0)
    ...   %y = f32[3,5]{1,0} parameter(1)
    ...   %z = f32[2,5]{1,0} dot(%x, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}
    ...   ROOT %s = f32[2,5]{1,0} all-reduce(%z), replica_groups=[1,4]<=[4]
    ... }''')
    >>> done.flops, done.sent
    (60.0, {'all-reduce': 60.0})
    """
    own, calls, counters, entry, pieces = {}, {}, _Counters(), None, set()
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            current, shapes = match[1], {}
            counters.enter(current)
            own[current], calls[current] = Counter(), []
            entry = current if line.startswith("ENTRY") else entry
        elif match := _INSTRUCTION.match(line):
            shapes[match[1]] = _numbers(match[2])
            own[current]["flops"] += _flops(line, shapes[match[1]], shapes)
            own[current].update(_traffic(line, pieces, current.startswith("all-reduce-scatter")))
            cycles = _CYCLES.search(line)
            own[current]["cycles"] += int(cycles[1]) if cycles else 0
            if 'target="tpu_custom_call"' in line and not _KERNEL.search(line):
                own[current].update(kernels=1, kernel_flops=_splash_flops(line))
            counters.read(line)
            calls[current] += _called(line, trips, counters)
    total = _total(entry, own, calls, {})
    return Work(
        float(total["flops"]),
        {kind: count for (what, kind), count in _pairs(total) if what == "sent"},
        {kind: count for (what, kind), count in _pairs(total) if what == "count"},
        float(total["cycles"]),
        float(total["kernels"]),
        float(total["kernel_flops"]),
    )


def _total(name, own, calls, known):
    """Counter of a computation and all that it calls."""
    if name not in known:
        known[name] = Counter(own[name])
        for rounds, called in calls[name]:
            branches = [_total(one, own, calls, known) for one in called]
            for key in set().union(*branches):
                known[name][key] += rounds * max(branch[key] for branch in branches)
    return known[name]


def _pairs(counter):
    return ((key, count) for key, count in counter.items() if isinstance(key, tuple))


class _Counters:
    """Loops that count: where they begin and end, and by how much they count."""

    def __init__(self):
        self.limits = {}  # of a condition: (place of the count in the loop's tuple, where it ends)
        self.steps = {}  # of a body and a place: what is added to it

    def enter(self, computation):
        """Begins a computation: what was known of the one before is forgotten."""
        self.computation = computation
        self.numbers, self.elements, self.sums, self.tuples = {}, {}, {}, {}

    def read(self, line):
        """Looks at an instruction."""
        if found := _NUMBER.search(line):
            number = int(found[2]) if found[2] else self.numbers.get(found[3])
            self.numbers[found[1]] = number
        elif found := _ELEMENT.search(line):
            self.elements[found[1]] = int(found[2])
        elif found := _SUM.search(line):
            self.sums[found[1]] = self.elements.get(found[2]), self.numbers.get(found[3])
        elif found := _TUPLE.search(line):
            self.tuples[found[1]] = values = re.findall(r"%([^\s,]+)", found[2])
            for place, (added_to, step) in enumerate(
                self.sums.get(x, (None, None)) for x in values
            ):
                if added_to == place and step:
                    self.steps[self.computation, place] = step
        elif found := _BELOW.search(line):
            place, limit = self.elements.get(found[1]), self.numbers.get(found[2])
            if None not in (place, limit):
                self.limits[self.computation] = place, limit

    def rounds(self, line):
        """Of a loop; None where the module does not say."""
        if found := _TRIPS.search(line):
            return int(found[1])
        values, condition, body = _LOOP.search(line).groups()
        if condition not in self.limits or values not in self.tuples:
            return None
        place, limit = self.limits[condition]
        first = self.numbers.get(self.tuples[values][place])
        step = self.steps.get((body, place), 1)
        return None if first is None else -((first - limit) // step)


def _rounds(line, trips, counters):
    """Of a loop."""
    if trips is None:
        return 1
    known = counters.rounds(line)
    return trips if known is None else known


def _called(line, trips, counters):
    """[(rounds, [computations of which one is run])] of an instruction."""
    called = [
        (_rounds(line, trips, counters) if how == "body" else 1, [name])
        for how, name in _CALLED.findall(line)
    ]
    branches = [
        name
        for several, one in _BRANCHES.findall(line)
        for name in ([one] if one else re.findall(r"%([\w.\-]+)", several))
    ]
    return called + [(1, branches)] * bool(branches)


def _flops(line, shape, shapes):
    """Operations of an instruction whose result is of a shape; ``shapes`` has those of its operands."""
    if found := _DOT.search(line):
        summed = [shapes[found[1]][axis] for axis in _numbers(found[2])]
        return 2.0 * math.prod(shape) * math.prod(summed)
    if found := _CONVOLUTION.search(line):
        return _convolution_flops(found, shape, shapes)
    found = "custom-call(" in line and _KERNEL.search(line)
    return float(found[1]) if found else 0.0


def _splash_flops(line):
    """Of splash attention's kernels, which JAX names by what they compute; 0 of others."""
    found = _SPLASH.search(line)
    shapes = _HEADS.findall(found[2]) if found else []
    if len(shapes) < 2:
        return 0.0
    queries, keys = ([int(size) for size in shape] for shape in shapes[:2])
    products = _PRODUCTS[found[1]] + (found[1] == "dkv" and bool(_PARTS.search(line)))
    return 2.0 * products * math.prod(queries) * max(keys[2:])  # the longer one is the length


def _convolution_flops(found, shape, shapes):
    left, kernel = (dict(zip(found[i], shapes[found[i - 3]])) for i in (4, 5))
    result = dict(zip(found[6], shape))
    window = _WINDOW.search(found[3])
    settings = dict(one.split("=") for one in window[1].split()) if window else {}
    flops = 2.0 * result["b"] * result["f"] * kernel["i"]
    for axis in range(len(result) - 2):
        name = str(axis)
        flops *= _pairs_that_meet(left[name], kernel[name], result[name], settings, axis)
    return flops


def _pairs_that_meet(left, kernel, result, settings, axis):
    """Along an axis of a window: pairs of a kernel's number and a result's for which there is a number of the left
    operand, rather than padding or a hole of dilation."""

    def setting(name, default):
        return settings[name].split("x")[axis] if name in settings else default

    stride, left_dilation, dilation = (
        int(setting(name, 1)) for name in ("stride", "lhs_dilate", "rhs_dilate")
    )
    before = int(setting("pad", "0_0").split("_")[0])
    place = np.arange(result)[:, None] * stride + np.arange(kernel) * dilation - before
    inside = (place >= 0) & (place <= (left - 1) * left_dilation)
    return int(np.sum(inside & (place % left_dilation == 0)))


def _traffic(line, pieces, is_scattered):
    """{("sent", kind): bytes, ("count", kind): 1} of a collective; {} of all else, and of one whose other pieces,
    which XLA puts into the computations beside it, were seen before. A TPU's reduce-scatter is written as an
    all-reduce in a computation of that name, of which each device keeps its part."""
    found = _COLLECTIVE.search(line)
    if not found:
        return {}
    if piece := _PIECE.search(line):
        if piece[1] in pieces:
            return {}
        pieces.add(piece[1])
    size, kind = _size(found), found[2]
    if kind == "collective-permute":
        sent = size
    elif kind == "all-reduce" and is_scattered:
        kind, devices = "reduce-scatter", _group_size(line)
        sent = size * (devices - 1) / devices
    else:
        devices = _group_size(line)
        times = {"all-reduce": 2, "reduce-scatter": devices}.get(kind, 1)  # of what it returns
        sent = times * size * (devices - 1) / devices
    return {("sent", kind): sent, ("count", kind): 1}


def _size(found):
    """Bytes that a collective returns; one that only starts shows its operands as well."""
    arrays = [_BYTES[kind] * math.prod(_numbers(shape)) for kind, shape in _ARRAY.findall(found[1])]
    if found[3] and found[2] == "collective-permute":
        return arrays[1]
    if found[3] and found[2] != "all-reduce":
        return sum(arrays[len(arrays) // 2 :])
    return sum(arrays)


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
