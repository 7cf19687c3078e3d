"""Series over training, read back from a run's ``metrics.jsonl``."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from tfalign.data import BadRecordError, json_object
from tfalign.files import as_path


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
        FileNotFoundError: if there is no such file.
        ValueError: naming file and line, if a line is not such an object.
    """
    points: dict[str, dict[str, list[tuple[int, float]]]] = {}
    *lines, _unfinished = as_path(file).read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        stage, step, values = _logged(line, f"{file}:{number}")
        metrics = points.setdefault(stage, {})
        for name, value in values.items():
            metrics.setdefault(name, []).append((step, value))
    return {
        stage: {name: _series(pairs) for name, pairs in metrics.items()}
        for stage, metrics in points.items()
    }


def _logged(line: bytes, where: str) -> tuple[str, int, dict[str, float]]:
    """Stage, step and metrics of a line."""
    try:
        record = json_object(line, where)
        stage, step = record.pop("stage", None), record.pop("step", None)
        values = {name: value for name, value in record.items() if value is not None}
        if not isinstance(stage, str) or not _is_step(step):
            raise BadRecordError(where, "stage must be text and step a whole number")
        if not all(map(_is_number, values.values())):
            raise BadRecordError(where, "a metric is no number")
        return stage, step, {name: float(value) for name, value in values.items()}
    except BadRecordError as error:
        raise BadRecordError(
            where,
            f"a line must be an object of stage, step and numbers ({error.reason})."
            f" Received: {line[:80].decode('utf-8', 'replace')}",
        ) from None


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    """Whether a series can hold it; NaN and infinity it can, an integer beyond them not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**1023
    return isinstance(value, float)


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
