"""``tfalign JOB --flag=value ...``: every job of the library from the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfalign.cli.help import show
from tfalign.cli.jobs import JOBS
from tfalign.options import unknown


def main(argv: Sequence[str] | None = None) -> None:
    """The console script ``tfalign``.

    Args:
        argv: the program's name, the job and its flags; ``sys.argv`` where None.
    """
    program, *arguments = sys.argv if argv is None else argv
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        show(_overview())
        return
    name, *flags = arguments
    if name not in JOBS:
        print(f"error: {unknown('job', name, JOBS)}", file=sys.stderr)
        sys.exit(2)
    launch_job(name, [program, *flags], f"tfalign {name}")


def launch_job(
    name: str,
    argv: Sequence[str] | None = None,
    command: str | None = None,
    about: str | None = None,
    configs: Mapping[str, Callable[[], Mapping[str, Any]]] | None = None,
) -> None:
    """Runs a job.

    Args:
        name: of ``JOBS``.
        argv, command: see ``launch``.
        about: what ``--help`` begins with; the record's docstring where None.
        configs: named configs of ``--config``; the library's where None.
    """
    from tfalign.cli import launch

    job = JOBS[name]
    record = getattr(importlib.import_module("tfalign.cli.records"), job.record)

    def run(options):
        getattr(importlib.import_module(job.module), job.function)(options)

    about = about or record.__doc__ or ""
    launch.launch(
        record,
        run,
        about,
        argv,
        command,
        configs or job.configs,
        job.own_numbers,
        getattr(launch, job.process_kind),
    )


def _overview():
    lines = ["tfalign JOB [--flag=value ...]", "", "Jobs:"]
    lines += [f"  {name:20}{job.about}" for name, job in JOBS.items()]
    return "\n".join([*lines, "", "tfalign JOB --help lists a job's options.", ""])
