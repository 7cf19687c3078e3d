"""A run's sample texts: a line a prompt and sampled step in ``samples.jsonl``, and the same for TensorBoard.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from tfalign.files import local_path
from tfalign.training.metrics_log import EventFile, forget_later_lines

SAMPLES = "samples.jsonl"


class SamplesLog(AbstractContextManager):
    """Appends one stage's samples to ``samples.jsonl`` and to TensorBoard events.

    Opening it forgets this stage's lines after ``resume_step``, as ``MetricsLog`` does.

    Args:
        directory: the run's directory; made when absent.
        stage: the stage's name.
        resume_step: int >= 0, the restored step; 0 for a stage that begins.
    """

    def __init__(self, directory: str | os.PathLike, stage: str, resume_step: int = 0) -> None:
        directory = local_path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / SAMPLES
        self.stage = stage
        if self.path.exists():
            forget_later_lines(self.path, stage, resume_step)
        self._lines = open(self.path, "ab", buffering=0)  # noqa: SIM115  # until close()
        self._events = EventFile(directory / "events" / f"{stage}_samples", resume_step + 1)

    def write(self, step: int, prompts: Sequence[str], responses: Sequence[str]) -> None:
        """Adds a line for every prompt, all at once.

        Args:
            step: int, of this stage.
            prompts, responses: as many of the one as of the other.
        """
        rows = [
            {"stage": self.stage, "step": int(step), "prompt": prompt, "response": response}
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        shown = "\n\n---\n\n".join(f"{row['prompt']}**{row['response']}**" for row in rows)
        try:
            self._lines.write(lines.encode("utf-8"))
            self._events.write_text(step, {"samples": shown}, time.time())
        except OSError as error:  # a full disk: the half of a line is forgotten by who goes on
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        """Closes both files."""
        self._lines.close()
        self._events.close()

    def __exit__(self, *exception: object) -> None:
        self.close()
