"""Baselines: the return expected of a response before it is sampled.

A baseline is subtracted from returns. It may depend on the prompt and on the past, but not on the
response: then it changes the variance of the policy gradient and not its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfalign.decoding import Greedy
from tfalign.functional.magnitude import is_finite
from tfalign.training.responses import generator_of
from tfalign.types import Array, Prompts


class MovingBaseline:
    """The mean return of past batches, older ones counting less (Williams 1992, section 2).

    Args:
        decay: float in [0, 1), weight of the past at every update.

    Raises:
        ValueError: if decay is out of its range.
    """

    def __init__(self, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1). Received: decay={decay}")
        self.decay = decay
        self.value = None

    def __call__(self, worker: Any, prompts: Prompts) -> Array:
        """float32[B], the same for all rows; 0 before the first update."""
        del worker
        return np.full(len(prompts.token_ids), self.value or 0.0, "float32")

    def update(self, mean_return: float) -> None:
        """Takes in a batch's mean return, after the batch was used; not one that is not finite."""
        if not is_finite(mean_return):
            return
        if self.value is None:
            self.value = float(mean_return)
        self.value = self.decay * self.value + (1 - self.decay) * float(mean_return)

    def state(self) -> dict[str, Any]:
        return {"value": self.value}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.value = state["value"]


class GreedyBaseline:
    """The score of the policy's own greedy response (ReMax, Li et al. 2023, algorithm 1): one more
    generation and one more scoring of every prompt."""

    def __init__(self) -> None:
        self._generator = None

    def __call__(self, worker: Any, prompts: Prompts) -> Array:
        """float32[B]; ``worker`` is the RolloutWorker whose policy, reward and limits are used."""
        responder = worker.responder
        if self._generator is None:
            self._generator = generator_of(worker.actor_critic.policy, worker.config, Greedy())
        generation = responder.generate(prompts, 0, generator=self._generator)
        return responder.score(prompts, generation).scores

    def update(self, mean_return: float) -> None:
        """Does nothing: the baseline has no state."""

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Does nothing: the baseline has no state."""
