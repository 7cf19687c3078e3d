"""Episodes walked on the host, as a TF-Agents ``PyEnvironment``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfalign.environments.episodes import Episodes, as_indices
from tfalign.environments.mdp import TextGenerationMDP
from tfalign.environments.tasks import repeat_prompt
from tfalign.environments.tf_agents_common import (
    action_spec,
    observation_spec,
    py_environment,
    time_step,
)


class TextGenerationPyEnvironment(py_environment.PyEnvironment):
    """Text generation, one token a step, whose functions may be Python functions.

    Action: int32, the next token. Observation: see ``tf_agents_common.observation_spec``. A row
    that is over begins anew in the next step, which ignores its action. By TF-Agents' contract a
    step before the first reset is that reset.

    Args:
        mdp: TextGenerationMDP; None for ``tasks.repeat_prompt()``.
        batch_size: int, B rows of which each is at its own step; None for one row without a batch
            dimension.
        seed: int, of the choice of prompts.

    Raises:
        ValueError: in a step, if an action is no allowed id or a reward is not finite, naming the
            row; all episodes stand where they stood.
    """

    def __init__(
        self, mdp: TextGenerationMDP | None = None, batch_size: int | None = None, seed: int = 0
    ) -> None:
        self.mdp = repeat_prompt() if mdp is None else mdp
        self._batch_size = batch_size
        self._observation_spec, self._action_spec = (
            observation_spec(self.mdp),
            action_spec(self.mdp),
        )
        self.episodes = Episodes(self.mdp, 1 if batch_size is None else batch_size)
        self._generator = np.random.default_rng(seed)
        super().__init__()

    @property
    def batched(self) -> bool:
        """Whether there is a batch dimension."""
        return self._batch_size is not None

    @property
    def batch_size(self) -> int | None:
        """B, or None."""
        return self._batch_size

    def observation_spec(self) -> dict[str, Any]:
        """See ``tf_agents_common.observation_spec``."""
        return self._observation_spec

    def action_spec(self) -> Any:
        """See ``tf_agents_common.action_spec``."""
        return self._action_spec

    def seed(self, seed: int) -> None:
        """Restarts the choice of prompts from an int."""
        self._generator = np.random.default_rng(seed)

    def begin(self, indices: np.ndarray) -> Any:
        """Resets all rows to the prompts int[B] of these indices, instead of random ones.

        Raises:
            ValueError: if there is no such prompt.
        """
        count, rows = len(self.mdp.prompts.token_ids), self.episodes.num_rows
        with self.episodes.alone:
            self._current_time_step = self._begin(as_indices(indices, count, rows))
            return self._current_time_step

    def _reset(self):
        with self.episodes.alone:
            return self._begin(self._draw())

    def _begin(self, indices):
        self._choose(indices)
        nothing = np.zeros(self.episodes.num_rows, "float32")
        return self._time_step(time_step.StepType.FIRST + 0 * nothing, nothing, 1 + nothing)

    def _step(self, action):
        with self.episodes.alone:
            return self._stepped(np.asarray(action))

    def _stepped(self, actions):
        over = self.episodes.done
        step = self.episodes.step(actions if self.batched else actions[None])
        discounts = np.where(over, 1.0, self.mdp.discount(self.episodes.state))
        step_types = np.where(
            over,
            time_step.StepType.FIRST,
            np.where(self.episodes.done, time_step.StepType.LAST, time_step.StepType.MID),
        )
        if over.any():
            self._choose(self._draw(), over)
        return self._time_step(step_types, step.rewards, discounts)

    def _draw(self):
        return self._generator.integers(
            len(self.mdp.prompts.token_ids), size=self.episodes.num_rows
        )

    def _choose(self, indices, rows=None):
        prompts = self.mdp.prompts.each(lambda field: np.asarray(field)[indices])
        self.episodes.begin(prompts, rows)

    def _time_step(self, step_types, rewards, discounts):
        token_ids, padding_mask = self.mdp.observation(self.episodes.state)
        observation = {"token_ids": token_ids, "padding_mask": np.asarray(padding_mask, "int32")}
        if self.mdp.allowed_tokens is not None:
            observation["action_mask"] = self.episodes.action_mask.astype("int32")
        fields = {
            "step_type": np.asarray(step_types, "int32"),
            "reward": np.asarray(rewards, "float32"),
            "discount": np.asarray(discounts, "float32"),
        }
        if not self.batched:
            fields = {name: array[0] for name, array in fields.items()}
            observation = {name: array[0] for name, array in observation.items()}
        return time_step.TimeStep(observation=observation, **fields)
