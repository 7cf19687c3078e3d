"""Over-optimisation of a reward model: gold reward as a function of how far a policy has gone.

With d = sqrt(KL(policy || reference)), Gao et al. 2022 ("Scaling Laws for Reward Model
Overoptimization") find the gold reward's gain over the reference to be

    d (alpha - beta d)        for best-of-n,
    d (alpha - beta log d)    for reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Law(NamedTuple):
    """Gain = d (alpha - beta bend(d)), with its fit to data."""

    alpha: float
    beta: float
    r_squared: float
    bend: Callable[[np.ndarray], np.ndarray]  # d for best-of-n, log d for RL

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """The gain at distances d > 0."""
        distance = np.asarray(distance, np.float64)
        return distance * (self.alpha - self.beta * self.bend(distance))


def fit_best_of_n(distance: np.ndarray, gain: np.ndarray) -> Law:
    """Least squares of d (alpha - beta d).

    Args:
        distance: float[N], d = sqrt(KL), nats^0.5; points with d <= 0 are left out.
        gain: float[N], mean reward less the reference's.

    Raises:
        ValueError: if fewer than two distances are positive and different.

    >>> law = fit_best_of_n(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.0]))
    >>> round(law.alpha, 6), round(law.beta, 6), round(law.r_squared, 6)
    (3.0, 1.0, 1.0)
    """
    return _fit(distance, gain, lambda d: d)


def fit_rl(distance: np.ndarray, gain: np.ndarray) -> Law:
    """Least squares of d (alpha - beta log d); otherwise as ``fit_best_of_n``."""
    return _fit(distance, gain, np.log)


def best_of_n_kl(n: np.ndarray) -> np.ndarray:
    """KL of best-of-n to the policy it samples from, log n - (n - 1) / n nats.

    Exact where no two samples tie, else a bound from above (Beirami et al. 2024).
    """
    n = np.asarray(n, np.float64)
    return np.log(n) - (n - 1) / n


def best_of_n_means(scores: np.ndarray, rewards: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean reward of the best of n by score, estimated from N >= n samples a prompt.

    The mean over all subsets of n (as WebGPT's, Nakano et al. 2021): the sample of rank i by score
    is the best in C(i - 1, n - 1) of C(N, n).

    Args:
        scores: float[P, N], by which the best is chosen; equal ones stand in the order given.
        rewards: float[P, N], what is averaged, the scores themselves or others'.
        sizes: int[K], each n, from 1 to N.

    Returns:
        float64[K].

    Raises:
        ValueError: if shapes differ or a size is out of range.

    >>> scores = np.array([[1.0, 3.0, 2.0]])
    >>> best_of_n_means(scores, scores, [1, 2, 3]).round(6).tolist()
    [2.0, 2.666667, 3.0]
    """
    scores, rewards = np.asarray(scores), np.asarray(rewards, np.float64)
    if scores.shape != rewards.shape or scores.ndim != 2:
        raise ValueError(
            "scores and rewards must be of one shape [P, N]. "
            f"Received: {scores.shape} and {rewards.shape}"
        )
    samples = scores.shape[1]
    order = np.argsort(scores, axis=1, kind="stable")
    by_rank = np.take_along_axis(rewards, order, axis=1).mean(axis=0)
    return np.array([by_rank @ _share_best(samples, n) for n in sizes])


def _share_best(samples: int, n: int) -> np.ndarray:
    """float64[N], the share of subsets of n in which the sample of each rank is the best.

    From the top down, since the share of rank i is that of rank i + 1 times (i + 1 - n) / i.
    """
    if not 1 <= n <= samples:
        raise ValueError(f"n must be from 1 to the {samples} samples. Received: n={n}")
    rank = np.arange(samples - 1, 0, -1)
    falling = np.cumprod(np.concatenate([[n / samples], np.maximum(rank + 1 - n, 0) / rank]))
    return falling[::-1]


def _fit(distance, gain, bend):
    distance, gain = np.asarray(distance, np.float64), np.asarray(gain, np.float64)
    away = distance > 0
    d, y = distance[away], gain[away]
    if np.unique(d).size < 2:
        raise ValueError(f"A fit needs two different positive distances. Received: {distance}")
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([d, -d * bend(d)], axis=1), y, rcond=None)
    residual = y - d * (alpha - beta * bend(d))
    spread = np.sum(np.square(y - y.mean()))
    r_squared = 1.0 - np.sum(np.square(residual)) / spread if spread else 0.0
    return Law(float(alpha), float(beta), float(r_squared), bend)
