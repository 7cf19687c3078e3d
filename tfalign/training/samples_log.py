"""A run's sample texts: a line a prompt and sampled step in ``samples.jsonl``, and the same for TensorBoard.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tfalign.training.metrics_log import StageLog

SAMPLES = "samples.jsonl"


class SamplesLog(StageLog):
    """One stage's samples, in ``samples.jsonl``.

    Args: see ``StageLog``.
    """

    file = SAMPLES
    events = "{stage}_samples"

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
        shown = "\n\n---\n\n".join(f"{row['prompt']}**{row['response']}**" for row in rows)
        texts, now = {"samples": shown}, time.time()
        self._append(rows, lambda: self._events.write_text(step, texts, now))
