"""Programs compiled ahead of time, for chips that are not here: the TPU compiler works without a TPU.

    with layouts.distribution(mesh, chips_of("v5e:2x4")).scope():
        learner = without_values(lambda: Learner(model(), objective, adamw(1e-5)))
        with compiled_only() as programs:
            learner.update(batch)
    programs[0].compiled.memory_analysis()

So what is compiled is what a training runs: the same ``backend.jit``, called by the same code, on a model of
which no weight is ever made.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies

_LIBRARY = {  # settings of libtpu where there is no TPU
    "TPU_SKIP_MDS_QUERY": "1",  # or it asks the cloud which machine this is
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # one process a machine is for those that use its chips
}


class AheadProgram:
    """One program of ``compiled_only``.

    Attributes:
        name: str, of the Python function.
        calls: int, how often it was called.
        compiled: jax.stages.Compiled; None where the compiler refused.
        refusal: str, why it did, such as too little memory; "" where it did not.
        seconds: float, CPU time of the compiler.
    """

    def __init__(self, name: str, lowered: jax.stages.Lowered) -> None:
        self.name = name
        self.calls = 0
        self.compiled, self.refusal = None, ""
        self._outputs, _ = lowered.out_info  # and the variables that it changes
        before = time.process_time()
        try:
            self.compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            self.refusal = str(error)
        self.seconds = time.process_time() - before

    def outputs(self) -> Any:
        """Zeros of the shapes that the program returns."""
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self._outputs)


def chips_of(topology: str) -> list[jax.Device]:
    """The chips of a slice of TPUs, for which programs can be compiled, but not run.

    Args:
        topology: str, the generation and the chips along each axis: "v5e:2x4", "v6e:2x4", "v4:2x2x1" or "v5p:2x2x1".

    Returns:
        list of jax.Device.

    Raises:
        ValueError: if the TPU compiler is not installed, or there is no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            'The TPU compiler is not installed; pip install "tfalign[tpu]" brings it. '
            f"Received: {topology}"
        )
    for name, value in _LIBRARY.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")  # what is computed on the way needs no TPU, nor a GPU
    jax.config.update("jax_enable_compilation_cache", False)  # a program is read where it can run
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:  # of many types; the reason is in its first line
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"The TPU compiler knows no such slice ({reason}). Received: {topology}"
        ) from error
    return list(found.devices)


def without_values(build: Callable[[], Any]) -> Any:
    """What a function builds, whose Keras variables have shapes and layouts, and no values.

    Args:
        build: () -> any object; it may look at no value of what it builds.
    """
    built = []
    jax.eval_shape(lambda: built.append(build()))
    return built[0]


_recorders: list[_Recorder] = []


@contextlib.contextmanager
def compiled_only() -> Iterator[Sequence[AheadProgram]]:
    """While it is open, programs are compiled where they would run, and return zeros; variables stay as they are.

    Returns:
        list of AheadProgram, in the order of their first calls, which grows.
    """
    recorder = _Recorder()
    _recorders.append(recorder)
    try:
        yield recorder.programs
    finally:
        _recorders.pop()


def recorder() -> _Recorder | None:
    """What a program is handed to instead of being run: the innermost of ``compiled_only``; None outside."""
    return _recorders[-1] if _recorders else None


class _Recorder:
    def __init__(self):
        self.programs = []
        self._known = {}  # a program and the shapes it is called with -> AheadProgram

    def call(self, name: str, lower: Callable[[Any], jax.stages.Lowered], args: Any) -> Any:
        """Zeros instead of a program's outputs.

        Args:
            name: of the function.
            lower: what makes the program of abstract arguments.
            args: abstract arguments, see ``jax_devices.abstract``.
        """
        leaves, structure = jax.tree.flatten(args)
        key = lower, structure, *((x.shape, x.dtype) for x in leaves)
        if key not in self._known:
            self._known[key] = AheadProgram(name, lower(args))
            self.programs.append(self._known[key])
        program = self._known[key]
        program.calls += 1
        return program.outputs()
