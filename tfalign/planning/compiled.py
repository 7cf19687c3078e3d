"""What XLA says of the programs it compiled and ran: operations, memory and traffic, read from its own dumps.

``watch(folder)`` must come before TensorFlow or JAX compiles anything; ``programs(folder)`` then reads one
``Program`` for each. Both are those after all optimisations, so nothing counts that was left out as
unused, and memory is the buffer assignment the program runs with.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from tfalign.planning import hlo

_ALLOCATION = re.compile(r"^allocation \d+: size (\d+), (.*)$")
_NAME = re.compile(r"^module_\d+\.(?:a_inference_(.+?)_\d+__Xla.*|jit_(.+?)\.cpu_after.*)")
_SUFFIX = ".cpu_after_optimizations.txt"


class Program(NamedTuple):
    """One compiled program."""

    name: str  # of the Python function
    flops: float  # of matrix products, two for a multiplication and an addition
    temporary: int  # bytes it needs besides its arguments: results, and what it keeps on the way
    arguments: int  # bytes
    sent: float  # bytes a device sends to others, each collective going round a ring
    hindrances: list[str]  # see ``hlo.hindrances``


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
    files = Path(folder).glob(f"*{_SUFFIX}")
    return [_program(file, trips) for file in sorted(files, key=_number)]


def _number(file):
    """(XLA's number of a module, its name): of four figures at first, then of five."""
    return int(file.name.split("_")[1].split(".")[0]), file.name


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
    work = hlo.work_of(text, trips)
    given = work.flops, temporary, arguments, work.total_sent
    return Program(name, *given, hlo.hindrances(text))
