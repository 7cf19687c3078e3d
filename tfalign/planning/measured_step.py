"""One step of an algorithm with random weights, and what XLA compiled for it.

It must run before anything else compiles in the process, since XLA is told at its start to write programs
down.
"""

from __future__ import annotations

import contextlib
import math
import resource
import tempfile
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import keras
import numpy as np

from tfalign.models.layouts import distribution
from tfalign.planning import compiled
from tfalign.planning.step import PHASES, build
from tfalign.training.step_costs import Models, Work


class Measured(NamedTuple):
    """What a step was seen to take; on a mesh of one device."""

    flops: dict[str, float]  # as ``Costs.flops``
    parameters: int  # of the language model, whole
    resident: int  # bytes of all variables
    passing: dict[str, int]  # bytes each program takes besides
    sent: dict[str, float]  # bytes, as ``Scaled.sent``
    hindrances: dict[str, list[str]]  # of every program, see ``compiled.Program``
    growth: (
        int | None
    )  # bytes by which the process grew at most, the compiler's own included; None: nothing ran


def measure(
    algorithm: str, models: Models, work: Work, mesh: Mapping[str, int] | None = None
) -> Measured:
    """Runs a step with random weights and reads what XLA compiled for it.

    Args:
        algorithm, models, work: as ``step_costs.costs_of``.
        mesh: dict of ``layouts.parse_mesh``, on the JAX backend; None for one device.

    Returns:
        Measured.

    Raises:
        ValueError: if XLA found the programs compiled, of which it writes nothing down.
    """
    with tempfile.TemporaryDirectory() as folder:
        compiled.watch(folder)
        before = _most_bytes()
        with distribution(mesh).scope() if mesh else contextlib.nullcontext():
            step = build(algorithm, models, work)
            step.run()
        programs = compiled.programs(folder, trips=work.response)
    flops, sent, passing = {}, {}, {}
    for program in programs:
        phase = PHASES.get(program.name)
        if phase is not None:
            rounds = step.updates if phase == "update" else 1
            flops[phase] = flops.get(phase, 0.0) + rounds * program.flops
            sent[phase] = sent.get(phase, 0.0) + rounds * program.sent
            passing[phase] = max(passing.get(phase, 0), program.temporary)
    if "update" not in flops:
        raise ValueError(
            "XLA wrote no update down: it was found compiled. A check needs --compile_cache=off"
        )
    resident = sum(bytes_of(step.variables))
    hindrances = {program.name: program.hindrances for program in programs}
    growth = _most_bytes() - before
    return Measured(flops, step.parameters, resident, passing, sent, hindrances, growth)


def bytes_of(variables: Iterable[keras.Variable]) -> list[int]:
    """Of each variable, on the first device."""
    if keras.backend.backend() == "jax":
        return [v.value.addressable_shards[0].data.nbytes for v in variables]
    return [math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables]


def _most_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
