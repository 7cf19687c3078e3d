"""Many episodes at a time in one batch, as a ``gymnasium.vector.VectorEnv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from tfalign.environments.episodes import Episodes
from tfalign.environments.gymnasium_env import (
    TextGenerationEnv,
    check_begun,
    check_running,
    choose_prompts,
    describe,
    draw,
    observe,
    row_of,
    show_ids,
    single_spaces,
)
from tfalign.environments.mdp import TextGenerationMDP
from tfalign.environments.tasks import repeat_prompt


class TextGenerationVectorEnv(VectorEnv):
    """B episodes of one process, stepped together: ``gymnasium.make_vec(id, num_envs=B, mdp=mdp)``.

    Spaces, seeds, infos and automatic resets are those of a ``SyncVectorEnv`` of B
    ``TextGenerationEnv``, whose rows it equals, bit for bit.

    Args:
        num_envs: int, B.
        mdp: see ``TextGenerationEnv``.
        autoreset_mode: ``gymnasium.vector.AutoresetMode``: what happens to rows that have ended.
            NEXT_STEP begins them anew in the next step, which ignores their actions; SAME_STEP at
            once, with what ended them in "final_obs" and "final_info"; DISABLED leaves it to
            ``reset(options={"reset_mask": bool[B]})``.
        render_mode: see ``TextGenerationEnv``; a tuple of texts, one a row.
        decode: see ``TextGenerationEnv``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        mdp: TextGenerationMDP | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        decode: Callable[[list[int]], str] | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.mdp = repeat_prompt() if mdp is None else mdp
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = TextGenerationEnv.metadata | {"autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.decode = decode or show_ids
        self.episodes = Episodes(self.mdp, num_envs)
        self.single_observation_space, self.single_action_space = single_spaces(self.mdp)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._returns = np.zeros(num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins episodes.

        Args:
            seed: int, row b gets seed + b; or a list of B ints or None; None to go on.
            options: as of ``TextGenerationEnv``, for all rows that begin, where "prompt_index" may
                also be an array of one index for each; and "reset_mask" bool[B], the rows that
                begin, where it is not all of them.

        Returns:
            (observations, infos).

        Raises:
            ValueError: as ``TextGenerationEnv.reset``, or if the seeds or the mask are not B.
        """
        if not isinstance(options, Mapping | None):
            raise ValueError(f"options must be a dict. Received: {options!r}")
        with self.episodes.alone:
            super().reset(seed=seed if isinstance(seed, int) else None)
            options = dict(options or {})
            rows = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, "bool")))
            if rows.shape != (self.num_envs,) or rows.dtype != bool:
                raise ValueError(f"reset_mask must be bool[{self.num_envs}]. Received: {rows}")
            self._seed(seed, rows)
            self._begin(rows, options)
            return observe(self.episodes), self._infos(rows)

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Writes a token in every row: (observations, rewards float64[B], terminations bool[B],
        truncations bool[B], infos).

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or, where resets are not
                automatic, if a row is over.
            ValueError: if an action is no allowed id, or a reward is not finite, naming the row;
                all episodes stand where they stood.
        """
        with self.episodes.alone:
            return self._step(actions)

    def _step(self, actions):
        over = np.zeros(self.num_envs, "bool")
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and self.episodes.state is not None:
            over = self.episodes.done
        else:
            check_running(self.episodes)
        step = self.episodes.step(actions)
        self._returns += step.rewards
        ended = self.episodes.done & ~over
        infos, scores = {}, step.scores
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            infos = self._final(ended, scores)
            scores = np.where(ended, 0.0, scores)
            over = ended
        if over.any():
            self._begin(over)
        return (
            observe(self.episodes),
            step.rewards.astype("float64"),
            step.state.terminated & ended,
            step.state.truncated & ended,
            infos | self._infos(np.ones(self.num_envs, "bool"), scores),
        )

    def render(self) -> tuple[str, ...] | None:
        """Tuple of str in mode "ansi", else None.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self.render_mode != "ansi":
            return None
        with self.episodes.alone:
            check_begun(self.episodes, "render")
            state, rows = self.episodes.state, enumerate(self._returns)
            return tuple(draw(state, row, self.decode, total) for row, total in rows)

    def _seed(self, seed, rows):
        if isinstance(seed, (int, np.integer)):
            seed = range(seed, seed + self.num_envs)
        if seed is None:
            return
        if not isinstance(seed, (list, tuple, range, np.ndarray)):
            raise ValueError(f"seed must be an int or a list of them. Received: {seed!r}")
        if len(seed) != self.num_envs:
            raise ValueError(f"seed must have {self.num_envs} entries. Received: {len(seed)}")
        for row, of_row in enumerate(seed):
            if of_row is not None and rows[row]:
                self._generators[row] = np.random.default_rng(of_row)

    def _begin(self, rows, options=None):
        """New episodes in these rows; the generators of the others do not move."""
        chosen = choose_prompts(
            self.mdp, [self._generators[row] for row in np.flatnonzero(rows)], options
        )
        prompts = type(chosen)(*(field[np.cumsum(rows) - 1] for field in chosen))
        self.episodes.begin(prompts, rows)
        self._returns[rows] = 0.0

    def _infos(self, rows, scores=None):
        """As ``SyncVectorEnv`` has them: next to each entry, where it is set."""
        infos = describe(self.episodes, scores)
        for name, array in list(infos.items()):
            array[~rows] = 0
            infos[f"_{name}"] = rows.copy()
        return infos

    def _final(self, ended, scores):
        """The last observation and info of the rows that ended."""
        infos, observations = {}, observe(self.episodes)
        of_rows = describe(self.episodes, scores)
        for row in np.flatnonzero(ended):
            final = {
                "final_obs": row_of(observations, row),
                "final_info": row_of(of_rows, row),
            }
            infos = self._add_info(infos, final, row)
        return infos
