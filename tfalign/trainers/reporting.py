"""The report of a training: ``report.json``, ``report.md`` and learning curves, from what the run has logged and
measured."""

from __future__ import annotations

import json
import os
from typing import Any

from tfalign.evaluation.curves import Curves, read_curves
from tfalign.evaluation.learning_curves import learning_curves
from tfalign.evaluation.report import Report, write_report
from tfalign.files import AnyPath, as_path
from tfalign.training.metrics_log import MEASURED
from tfalign.training.run_directory import METRICS

_REPORT = "report.json"


def report_run(run_dir: str | os.PathLike, command: str = "") -> dict[str, Any]:
    """Writes a run's report from its metrics and its stages' results; one of an evaluation is kept, with curves drawn anew.

    Args:
        run_dir: the run's directory.
        command: the shell command that runs it again, if known.

    Returns:
        What report.json holds.

    Raises:
        ValueError: if the directory holds no metrics.
    """
    directory = as_path(run_dir)
    file = directory / METRICS
    if not file.is_file():
        raise ValueError(f"{directory} is no run with metrics: there is no file {file}")
    curves = read_curves(file)
    evaluated = _evaluated(directory / _REPORT)
    if evaluated is not None:
        (directory / "plots").mkdir(exist_ok=True)
        learning_curves(directory / "plots" / "learning_curves.png", curves)
        return evaluated
    report = Report(
        title=f"Training: {', '.join(curves) or 'nothing logged yet'}",
        summary="",
        command=command or f"tfalign report --run_dir={directory}",
        versions=_json(directory / "versions.json"),
        numbers={
            stage: numbers | _json(directory / f"{stage}.json")
            for stage, numbers in last_metrics(curves).items()
        },
    )
    return write_report(report, directory, file)


def last_metrics(curves: Curves) -> dict[str, dict[str, float]]:
    """Stage -> its number of steps, and each metric's last value, but of what measures the machine."""
    return {
        stage: {"steps": int(metrics["time"].steps[-1])}
        | {
            name: float(series.values[-1])
            for name, series in metrics.items()
            if name not in MEASURED
        }
        for stage, metrics in curves.items()
        if "time" in metrics
    }


def _evaluated(file: AnyPath) -> dict[str, Any] | None:
    """A report that says more than metrics do."""
    values = _json(file)
    return values if values.get("prompts") else None


def _json(file: AnyPath) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
