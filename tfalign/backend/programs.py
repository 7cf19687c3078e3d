"""Who asks for many programs is named: each takes seconds to compile, and memory for as long as the process lives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from keras import tree

MANY = 9


def warn_of_many(function: Callable, traces: int, args: Any) -> None:
    """Warns at a function's ninth program, with the shapes that it is for.

    Args:
        function: what is compiled.
        traces: int, its programs, this one included.
        args: (nested) tensors.
    """
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
