"""Metrics of a run: one line per logged step in ``metrics.jsonl``, and the same numbers for TensorBoard.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from tfalign.files import AnyPath, as_path, open_log, write_bytes_atomically

METRICS = "metrics.jsonl"
MEASURED = frozenset(
    {"time", "step_seconds", "tokens_per_second", "step_tflops", "mfu", "memory_gb"}
)
"""What a line says of the clock and the machine (see ``step_watch``), in which no two runs are alike."""


class RunDirectoryError(ValueError):
    """A run that cannot be continued with these flags, or whose files are damaged."""


class StageLog(AbstractContextManager):
    """Appends one stage's lines to a file of the run, and the same to TensorBoard events.

    Opening it forgets this stage's lines after ``resume_step``, which the run is about to write
    again, and a last line that a kill cut in half. Other stages' lines stay.

    Args:
        directory: the run's directory; made when absent.
        stage: the stage's name.
        resume_step: int >= 0, the restored step; 0 for a stage that begins.

    Attributes:
        path: of the file.
    """

    file: str
    events = "{stage}"  # folder of the events

    def __init__(self, directory: str | os.PathLike, stage: str, resume_step: int = 0) -> None:
        if resume_step < 0:
            raise ValueError(
                f"resume_step must not be negative. Received: resume_step={resume_step}"
            )
        directory = as_path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / self.file
        self.stage = stage
        if self.path.exists():
            forget_later_lines(self.path, stage, resume_step)
        self._lines = open_log(self.path)
        events = directory / "events" / self.events.format(stage=stage)
        self._events = EventFile(events, purge_step=resume_step + 1)

    def _append(self, rows: Iterable[Mapping[str, Any]], write_events: Callable[[], None]) -> None:
        """Adds lines, which are in the operating system's hands when this returns, and events."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            self._lines.write(lines.encode("utf-8"))
            write_events()
        except OSError as error:  # a full disk: the half of a line is forgotten by who goes on
            if error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def sync(self) -> None:
        """All lines and events are where a restart finds them when this returns."""
        self._lines.sync()
        self._events.sync()

    def close(self) -> None:
        """Closes both files."""
        self._lines.close()
        self._events.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


class MetricsLog(StageLog):
    """One stage's metrics, in ``metrics.jsonl``.

    Args: see ``StageLog``.
    """

    file = METRICS

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one line.

        Args:
            step: int, of this stage.
            metrics: name -> number or 0-dimensional array; one that is not finite becomes null.
        """
        now = time.time()
        values = {name: float(value) for name, value in metrics.items()}
        line = {"stage": self.stage, "step": int(step), "time": round(now, 3)}
        line |= {name: x if math.isfinite(x) else None for name, x in values.items()}
        self._append([line], lambda: self._events.write(step, values, now))


class EventFile:
    """Scalars and texts for TensorBoard, written without importing TensorFlow.

    Args:
        directory: the folder TensorBoard shows as one run; made when absent.
        purge_step: TensorBoard forgets what earlier files say of this step and later ones.
    """

    def __init__(self, directory: str | os.PathLike, purge_step: int) -> None:
        directory = as_path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names, so time comes first.
        stamp = f"{time.time_ns() / 1e9:020.9f}"
        name = f"events.out.tfevents.{stamp}.{socket.gethostname()}.{os.getpid()}"
        self._log = open_log(directory / name, is_new=True)
        self._writer = RecordWriter(self._log)
        now = time.time()
        self._add(Event(wall_time=now, file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=now, step=purge_step, session_log=start))

    def write(self, step: int, values: Mapping[str, float], wall_time: float) -> None:
        """Adds the values of one step.

        Args:
            step: int.
            values: tag -> number.
            wall_time: seconds since the epoch.
        """
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        summary = Summary(value=scalars)
        self._add(Event(wall_time=wall_time, step=int(step), summary=summary))

    def write_text(self, step: int, texts: Mapping[str, str], wall_time: float) -> None:
        """Adds texts (Markdown) of one step, tag -> text."""
        values = [
            Summary.Value(
                tag=tag,
                metadata=SummaryMetadata(plugin_data={"plugin_name": "text"}),
                tensor=TensorProto(dtype=DT_STRING, string_val=[text.encode("utf-8")]),
            )
            for tag, text in texts.items()
        ]
        self._add(Event(wall_time=wall_time, step=int(step), summary=Summary(value=values)))

    def sync(self) -> None:
        """All events are in the file when this returns."""
        self._log.sync()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _add(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()


class NoLog(AbstractContextManager):
    """Log of a process that writes neither metrics nor samples."""

    def write(self, step: int, *values: Any) -> None:
        """Does nothing."""

    def __exit__(self, *exception: Any) -> None:
        """Does nothing."""


def forget_later_lines(file: AnyPath, stage: str, step: int) -> None:
    """Rewrites a file of JSON lines without a stage's lines after a step, and without a last half of one.

    Raises:
        RunDirectoryError: naming the line, if one is damaged.
    """
    *lines, _half = file.read_bytes().split(b"\n")
    kept = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            forget = record["stage"] == stage and record["step"] > step
        except (ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{file}:{number}: a line must be an object with stage and step."
                f" Received: {line[:80].decode('utf-8', 'replace')}"
            ) from error
        if not forget:
            kept.append(line + b"\n")
    write_bytes_atomically(file, b"".join(kept))
