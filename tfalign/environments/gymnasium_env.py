"""One episode at a time, as a ``gymnasium.Env``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from tfalign.environments.episodes import Episodes, as_indices, as_prompts
from tfalign.environments.mdp import State, TextGenerationMDP
from tfalign.environments.tasks import repeat_prompt
from tfalign.types import Prompts


class TextGenerationEnv(gymnasium.Env):
    """Text generation, one token a step; ``gymnasium.make("tfalign/TextGeneration-v0", mdp=mdp)``.

    Action: ``Discrete(V)``, the next token. Observation, a dictionary: ``token_ids``
    MultiDiscrete[T], the prompt on the left, then what has been written, then padding;
    ``padding_mask`` MultiBinary[T], 1 at real tokens. Both are int32 and int8 arrays of their own.

    ``info``, after ``reset`` and ``step``: "action_mask" int8[V], 1 where an action is allowed, as
    ``action_space.sample`` takes it; "response_mask" int8[R], 1 at the policy's tokens;
    "response_length" int, columns written; "score" float, part of the reward, 0 before the end.

    Args:
        mdp: TextGenerationMDP, whose functions may be Python functions; None for
            ``tasks.repeat_prompt()``.
        render_mode: None, or "ansi": ``render()`` returns the prompt, the text so far and the
            rewards of the episode so far. With anything else it returns None (and Gymnasium's
            ``make`` warns).
        decode: list of ids to text, such as ``Tokenizer.decode``; None shows the ids.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(
        self,
        mdp: TextGenerationMDP | None = None,
        render_mode: str | None = None,
        decode: Callable[[list[int]], str] | None = None,
    ) -> None:
        self.mdp = repeat_prompt() if mdp is None else mdp
        self.render_mode = render_mode
        self.decode = decode or show_ids
        self.episodes = Episodes(self.mdp, 1)
        self.observation_space, self.action_space = single_spaces(self.mdp)
        self._return = 0.0

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begins an episode.

        Args:
            seed: int, of the choice of prompts; None to go on from the last one.
            options: dict, with the choice itself: "prompt", a list of at most P ids, or
                "prompt_index", a row of ``mdp.prompts``; None for a random row.

        Returns:
            (observation, info).

        Raises:
            ValueError: if the prompt is no list of ids, is empty, too long or outside the
                vocabulary, there is no such index, or an option has another name.
        """
        with self.episodes.alone:
            super().reset(seed=seed)
            self.episodes.begin(choose_prompts(self.mdp, [self.np_random], options))
            self._return = 0.0
            return row_of(observe(self.episodes), 0), row_of(describe(self.episodes), 0)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Writes a token: (observation, reward float, terminated, truncated, info).

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after the end.
            ValueError: if the action is no allowed id, or the reward is not finite; the episode
                stands where it stood.
        """
        with self.episodes.alone:
            check_running(self.episodes)
            step = self.episodes.step(np.asarray(action)[None])
            self._return += float(step.rewards[0])
            return (
                row_of(observe(self.episodes), 0),
                float(step.rewards[0]),
                bool(step.state.terminated[0]),
                bool(step.state.truncated[0]),
                row_of(describe(self.episodes, step.scores), 0),
            )

    def render(self) -> str | None:
        """str in mode "ansi", else None.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self.render_mode != "ansi":
            return None
        with self.episodes.alone:
            check_begun(self.episodes, "render")
            return draw(self.episodes.state, 0, self.decode, self._return)


def single_spaces(mdp: TextGenerationMDP) -> tuple[spaces.Dict, spaces.Discrete]:
    """(observation space, action space) of one row, see ``TextGenerationEnv``."""
    columns = mdp.prompts.token_ids.shape[1] + mdp.max_new_tokens
    observation_space = spaces.Dict(
        {
            "token_ids": spaces.MultiDiscrete(np.full(columns, mdp.vocab_size), np.int32),
            "padding_mask": spaces.MultiBinary(columns),
        }
    )
    return observation_space, spaces.Discrete(mdp.vocab_size)


def choose_prompts(
    mdp: TextGenerationMDP,
    generators: Sequence[np.random.Generator],
    options: Mapping[str, Any] | None = None,
) -> Prompts:
    """Prompts for one row a generator: as the options say, or drawn."""
    options = {} if options is None else options
    is_dict = isinstance(options, Mapping)
    if not is_dict or set(options) - {"prompt", "prompt_index"} or len(options) > 1:
        raise ValueError(f'options has "prompt" or "prompt_index" or none. Received: {options}')
    count, columns = mdp.prompts.token_ids.shape
    if "prompt" in options:
        return as_prompts([options["prompt"]] * len(generators), columns, mdp.pad_id)
    if "prompt_index" in options:
        indices = as_indices(options["prompt_index"], count, len(generators))
    else:
        indices = np.array([generator.integers(count) for generator in generators])
    return mdp.prompts.each(lambda field: np.asarray(field)[indices])


def observe(episodes: Episodes) -> dict[str, np.ndarray]:
    """The observations of all rows: dict of int32[B, T] and int8[B, T]."""
    token_ids, padding_mask = map(np.asarray, episodes.mdp.observation(episodes.state))
    return {"token_ids": token_ids.astype("int32"), "padding_mask": padding_mask.astype("int8")}


def describe(episodes: Episodes, scores: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The infos of all rows: dict of arrays of B rows."""
    scores = np.zeros(episodes.num_rows) if scores is None else scores
    return {
        "action_mask": episodes.action_mask.astype("int8"),
        "response_mask": episodes.state.response_mask.astype("int8"),
        "response_length": episodes.state.response_length.astype("int64"),
        "score": scores.astype("float64"),
    }


def row_of(batch: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    """One row of a dict of arrays, its scalars as Python numbers."""
    rows = {name: array[row] for name, array in batch.items()}
    return {name: x if x.ndim else x.item() for name, x in rows.items()}


def draw(state: State, row: int, decode: Callable[[list[int]], str], total: float) -> str:
    """The row as text: prompt, response and what it has earned."""
    columns = state.prompt_mask.shape[1]
    token_ids, length = state.token_ids[row], int(state.response_length[row])
    prompt = decode(token_ids[:columns][state.prompt_mask[row]].tolist())
    response = decode(token_ids[columns : columns + length].tolist())
    ending = {(True, False): " (terminated)", (False, True): " (truncated)"}.get(
        (bool(state.terminated[row]), bool(state.truncated[row])), ""
    )
    return f"prompt:   {prompt}\nresponse: {response}{ending}\nreward:   {total:+.3f}"


def show_ids(ids: Iterable[int]) -> str:
    """The ids themselves, for want of a tokenizer."""
    return " ".join(map(str, ids))


def check_begun(episodes: Episodes, call: str) -> None:
    """Raises ResetNeeded if no episode has begun."""
    if episodes.state is None:
        raise gymnasium.error.ResetNeeded(f"{call} was called before the first reset")


def check_running(episodes: Episodes) -> None:
    """Raises ResetNeeded if some row has no episode, or it is over."""
    check_begun(episodes, "step")
    if episodes.done.any():
        raise gymnasium.error.ResetNeeded(
            f"The episode of row {int(np.argmax(episodes.done))} is over: call reset first"
        )
