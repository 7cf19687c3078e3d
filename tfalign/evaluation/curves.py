"""Series over training, read back from a run's ``metrics.jsonl``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Series(NamedTuple):
    """One metric of one stage."""

    steps: np.ndarray  # int64[N], as logged
    values: np.ndarray  # float64[N]


Curves = dict[str, dict[str, Series]]
"""Stage -> metric -> series."""


def read_curves(file: str | os.PathLike) -> Curves:
    """Reads ``metrics.jsonl``, which may still be growing.

    Args:
        file: lines {"stage": str, "step": int, "time": float, metric: number or null, ...}. A last
            line without its newline is not finished and left out, and so are nulls.

    Returns:
        Stage -> metric -> series, stages in the order of their first line; "time" among them.

    Raises:
        ValueError: naming file and line, if a line is not such an object.
    """
    points: dict[str, dict[str, list[tuple[int, float]]]] = {}
    *lines, _unfinished = Path(file).read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            stage, step = record.pop("stage"), int(record.pop("step"))
            values = {name: float(x) for name, x in record.items() if x is not None}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{file}:{number}: a line must be an object of stage, step and numbers."
                f" Received: {line[:80].decode('utf-8', 'replace')}"
            ) from error
        metrics = points.setdefault(stage, {})
        for name, value in values.items():
            metrics.setdefault(name, []).append((step, value))
    return {
        stage: {name: _series(pairs) for name, pairs in metrics.items()}
        for stage, metrics in points.items()
    }


def at_common_steps(first: Series, second: Series) -> tuple[np.ndarray, np.ndarray]:
    """The values of both at the steps that both have, in the order of the steps.

    >>> import numpy as np
    >>> kl = Series(np.array([1, 2, 3]), np.array([0.1, 0.2, 0.3]))
    >>> gold = Series(np.array([1, 3]), np.array([5.0, 6.0]))
    >>> [values.tolist() for values in at_common_steps(kl, gold)]
    [[0.1, 0.3], [5.0, 6.0]]
    """
    _, in_first, in_second = np.intersect1d(first.steps, second.steps, return_indices=True)
    return first.values[in_first], second.values[in_second]


def _series(pairs: list[tuple[int, float]]) -> Series:
    steps, values = zip(*pairs)
    return Series(np.array(steps, np.int64), np.array(values, np.float64))
