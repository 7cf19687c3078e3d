"""Gymnasium wrappers that add a reward computed on the host, such as a rule's or a service's.

An environment made elsewhere, whose score is a learned one, gets a second opinion without being
made anew. The function is one of ``rewards``, so ``rewards.TextReward`` takes one of texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from tfalign.functional.arguments import check_takes

_ARGUMENTS = ("token_ids", "padding_mask", "response_mask")


class HostReward(gymnasium.Wrapper):
    """Adds ``reward`` of the complete text to the last reward of an episode.

    Args:
        env: TextGenerationEnv, wrapped or not.
        reward: ``(token_ids int32[1, T], padding_mask bool[1, T], response_mask bool[1, R]) ->
            float32[1]``.

    Raises:
        ValueError: if the reward does not take three arguments.
    """

    def __init__(self, env: gymnasium.Env, reward: Callable[..., np.ndarray]) -> None:
        super().__init__(env)
        check_takes(reward, "reward", *_ARGUMENTS)
        self.function = reward

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """As the environment's.

        Raises:
            ValueError: if the reward is not finite; the episode is over by then.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            texts = {name: array[None] for name, array in observation.items()}
            (added,) = _rewards(self.function, texts, info["response_mask"][None], [0])
            reward += float(added)
        return observation, reward, terminated, truncated, info


class VectorHostReward(VectorWrapper):
    """Adds ``reward`` of the complete texts to the last rewards of their episodes.

    Args:
        env: TextGenerationVectorEnv, or a SyncVectorEnv of TextGenerationEnv.
        reward: see ``HostReward``; it is called with the rows that have ended.

    Raises:
        ValueError: if the reward does not take three arguments.
    """

    def __init__(self, env: VectorEnv, reward: Callable[..., np.ndarray]) -> None:
        super().__init__(env)
        check_takes(reward, "reward", *_ARGUMENTS)
        self.function = reward

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """As the environment's.

        Raises:
            ValueError: if a reward is not finite, naming the row; its episode is over by then.
        """
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        (ended,) = np.nonzero(terminations | truncations)
        if len(ended):
            response_mask = infos["response_mask"]
            texts = {name: array[ended] for name, array in observations.items()}
            if self.env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP:
                final = infos["final_obs"][ended]
                texts = {name: np.stack([of_row[name] for of_row in final]) for name in texts}
                response_mask = infos["final_info"]["response_mask"]
            rewards[ended] += _rewards(self.function, texts, response_mask[ended], ended)
        return observations, rewards, terminations, truncations, infos


def _rewards(function, texts, response_mask, rows):
    rewards = np.asarray(
        function(
            texts["token_ids"], texts["padding_mask"].astype("bool"), response_mask.astype("bool")
        )
    )
    if rewards.shape != (len(rows),) or rewards.dtype.kind not in "biuf":
        raise ValueError(
            f"A reward is a number for every text, float[{len(rows)}]. "
            f"Received: {rewards.dtype}{list(rewards.shape)}"
        )
    for row, reward in zip(rows, rewards):
        if not np.isfinite(reward):
            raise ValueError(f"The reward of row {row} is not finite. Received: {reward}")
    return rewards
