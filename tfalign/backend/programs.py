"""How many programs are compiled: each takes seconds, and memory for as long as the process lives, so that who asks for
many is named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from keras import tree

MANY = 9
_compiled = [0]


def programs_compiled() -> int:
    """Programs of ``jit`` and its like that this process has compiled so far."""
    return _compiled[0]


def note_program(function: Callable, traces: int, args: Any) -> None:
    """Counts a program, and warns at a function's ninth, with the shapes that it is for.

    Args:
        function: what is compiled.
        traces: int, its programs, this one included.
        args: (nested) tensors.
    """
    _compiled[0] += 1
    if traces != MANY:
        return
    leaves = [x for x in tree.flatten(args) if hasattr(x, "shape")]
    shapes = ", ".join(f"[{', '.join(map(str, x.shape))}]" for x in leaves)
    name = getattr(function, "__qualname__", type(function).__name__)
    warnings.warn(
        f"{name} is compiled for the {MANY}th time, now for arguments of shapes {shapes[:400]}: pad what it is given "
        "to a few shapes",
        stacklevel=2,
    )
