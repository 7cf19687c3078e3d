"""Several rewards as one that does not trust what they disagree about."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tfalign.types import Array


def worst_case(scores: np.ndarray) -> np.ndarray:
    """The least of them (Coste et al. 2023, "Reward model ensembles help mitigate
    overoptimization": worst-case optimisation).

    Args:
        scores: float[M, B], of M rewards.

    Returns:
        float[B].
    """
    return scores.min(axis=0)


def mean_less_deviation(scores: np.ndarray, coefficient: float = 1.0) -> np.ndarray:
    """Their mean less a number of their standard deviations, a lower confidence bound.

    Args:
        scores: float[M, B], of M rewards.
        coefficient: float >= 0, deviations.

    Returns:
        float[B].
    """
    return scores.mean(axis=0) - coefficient * scores.std(axis=0)


def mean_less_variance(scores: np.ndarray, coefficient: float = 0.1) -> np.ndarray:
    """Their mean less a multiple of their variance (Coste et al. 2023:
    uncertainty-weighted optimisation)."""
    return scores.mean(axis=0) - coefficient * scores.var(axis=0)


class Ensemble:
    """A lower bound of several rewards, against over-optimisation of any one of them.

    Rewards that were learned apart should be of one scale: ``LearnedReward.normalize`` each.

    Args:
        rewards: reward functions of rollouts, two or more.
        bound: float[M, B] -> float[B]; one of this module's, or any other.

    Raises:
        ValueError: if there are fewer than two rewards.
    """

    def __init__(
        self,
        rewards: Iterable[Callable[..., Array]],
        bound: Callable[[np.ndarray], np.ndarray] = mean_less_deviation,
    ) -> None:
        self.rewards = list(rewards)
        self.bound = bound
        if len(self.rewards) < 2:
            raise ValueError(
                f"An ensemble needs two rewards or more. Received: {len(self.rewards)}"
            )

    def __call__(self, token_ids: Array, padding_mask: Array, response_mask: Array) -> np.ndarray:
        """float32[B], the bound of all rewards of int32[B, T] prompts with responses."""
        answered = token_ids, padding_mask, response_mask
        # in float64, where the squares of large scores are numbers too
        scores = np.stack([np.asarray(reward(*answered), "float64") for reward in self.rewards])
        return np.asarray(self.bound(scores), "float32")
