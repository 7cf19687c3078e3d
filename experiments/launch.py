"""Starts an experiment's main: ``launch`` for one with options of its own, ``launch_job`` for a job of the
library."""

from __future__ import annotations

import importlib
from pathlib import Path

from tfalign.cli import launch_job as _launch_job
from tfalign.cli.jobs import NAMED
from tfalign.cli.launch import Process
from tfalign.cli.launch import launch as _launch


def _config(name):
    return lambda: importlib.import_module(f"experiments.configs.{name}").CONFIG


CONFIGS = NAMED | {
    file.stem: _config(file.stem)
    for file in sorted((Path(__file__).parent / "configs").glob("[a-z]*.py"))
}
"""Named configs of ``--config``: the library's, and those of experiments/configs."""


def launch(record, run, about, process_kind=Process):
    """Runs an experiment's main, see ``tfalign.cli.launch``.

    Args:
        record: class of its option record.
        run: ``record -> None``.
        about: the module's docstring.
        process_kind: see ``tfalign.cli.launch``.
    """
    _launch(record, run, about, configs=CONFIGS, process_kind=process_kind)


def launch_job(name, about):
    """Runs a job of ``tfalign JOB`` as ``python -m experiments.NAME``.

    Args:
        name: name of the job.
        about: the module's docstring.
    """
    _launch_job(name, about=about, configs=CONFIGS)
