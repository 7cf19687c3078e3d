"""A step of an algorithm compiled for a slice of TPUs by their own compiler, on a machine without one.

Nothing runs, and no weight is made: a model of any size is compiled in the memory that the compiler needs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfalign.backend import jax_ahead, jax_devices
from tfalign.models.layouts import distribution
from tfalign.planning import hlo
from tfalign.planning.measured_step import Measured
from tfalign.planning.step import PHASES, build
from tfalign.training.step_costs import Models, Work

_NEEDED = re.compile(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class ChipProgram(NamedTuple):
    """A program as one chip takes part in it; all but ``calls`` of one run."""

    name: str  # of the phase
    calls: int  # in a step
    arguments: int  # bytes
    temporaries: int  # bytes
    results: int  # bytes that do not take an argument's place
    needed: (
        int | None
    )  # bytes in all by the compiler's own word, where it refused; None where it did not
    work: hlo.Work
    seconds: float | None  # see ``_seconds``
    hindrances: list[str]
    compiled_in: float  # CPU seconds

    @property
    def passing(self) -> int:
        """Bytes beside the arguments."""
        return self.temporaries + self.results


class Ahead(NamedTuple):
    """A step as one chip takes part in it."""

    programs: list[ChipProgram]
    parameters: int  # of the language model, whole
    resident: int  # bytes of all variables

    @property
    def fits(self) -> bool:
        """Whether the compiler took all programs; what else lies there is not its business."""
        return all(program.needed is None for program in self.programs)

    @property
    def total_memory(self) -> int:
        """All variables, and the largest of what the programs need beside them; of one that was refused as much as it
        needs itself, at least."""
        return max(p.needed or self.resident + p.passing for p in self.programs)

    def measured(self) -> Measured:
        """What a formula is compared with."""
        flops, sent, passing = {}, {}, {}
        for program in self.programs:
            name = program.name
            flops[name] = flops.get(name, 0.0) + program.calls * program.work.flops
            sent[name] = sent.get(name, 0.0) + program.calls * program.work.total_sent
            passing[name] = max(passing.get(name, 0), program.passing)
        hindrances = {program.name: program.hindrances for program in self.programs}
        return Measured(flops, self.parameters, self.resident, passing, sent, hindrances, None)


def compile_ahead(
    algorithm: str, models: Models, work: Work, mesh: Mapping[str, int], topology: str
) -> Ahead:
    """Compiles every program of a step.

    Args:
        algorithm, models, work: as ``step_costs.costs_of``.
        mesh: dict of ``layouts.parse_mesh``, over all chips.
        topology: str, see ``jax_ahead.chips_of``.

    Returns:
        Ahead.

    Raises:
        ValueError: if there is no such slice, or the mesh is of another size.
    """
    chips = jax_ahead.chips_of(topology)
    with distribution(mesh, chips).scope():
        step = jax_ahead.without_values(lambda: build(algorithm, models, work))
        with jax_ahead.compiled_only() as programs:
            step.run()
        resident = sum(_bytes(variable) for variable in step.variables)
    rows = [_chip_program(program, work.response) for program in programs]
    return Ahead(rows, step.parameters, resident)


def _bytes(variable):
    """Of a variable's part on one chip."""
    whole = jax_devices.abstract_variable(variable)
    return math.prod(whole.sharding.shard_shape(whole.shape)) * np.dtype(whole.dtype).itemsize


def _chip_program(program, trips):
    name = PHASES.get(program.name, program.name)
    if program.compiled is None:
        found = _NEEDED.search(program.refusal)
        if found is None:
            raise ValueError(f"The TPU compiler refused {name}: {program.refusal}")
        needed = int(float(found[1]) * _UNITS[found[2]])
        nothing = hlo.Work(0.0, {}, {}, 0.0)
        return ChipProgram(
            name, program.calls, 0, needed, 0, needed, nothing, None, [], program.seconds
        )
    text, memory = program.compiled.as_text(), program.compiled.memory_analysis()
    work = hlo.work_of(text, trips)
    return ChipProgram(
        name,
        program.calls,
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.output_size_in_bytes - memory.alias_size_in_bytes,
        None,
        work,
        _seconds(program.compiled, text, work),
        hlo.hindrances(text),
        program.seconds,
    )


def _seconds(compiled, text, work):
    """By the compiler's roofline, which sees one round of a loop: times its cycles with all rounds over those with one.
    None where it has none that is positive."""
    optimal = (compiled.cost_analysis() or {}).get("optimal_seconds", 0.0)
    once = hlo.work_of(text, None).cycles
    if optimal <= 0:
        return None
    return optimal * work.cycles / once if once else optimal
