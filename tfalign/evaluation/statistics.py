"""Win rates, intervals, calibration, and reward as a function of KL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054
"""The 0.975 quantile of the standard normal: two-sided 95 %."""


class Interval(NamedTuple):
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class WinRate(NamedTuple):
    """How often one policy's response beats another's to the same prompt."""

    value: float  # (wins + ties / 2) / (wins + ties + losses)
    low: float  # 95 % interval
    high: float
    wins: int
    ties: int
    losses: int


class Calibration(NamedTuple):
    """Stated confidence against how often it was right, in bins of equal width."""

    edges: np.ndarray  # float64[N + 1]
    confidence: np.ndarray  # float64[N], mean in the bin; NaN in an empty one
    accuracy: np.ndarray  # float64[N], mean outcome in the bin; NaN in an empty one
    counts: np.ndarray  # int64[N]
    expected_error: float  # mean over the cases of |accuracy - confidence| of their bin


class RewardByKL(NamedTuple):
    """Mean reward in groups of equal size, ordered by KL."""

    kl: np.ndarray  # float64[N], nats, ascending
    reward: np.ndarray  # float64[N]


def wilson_interval(successes: float, trials: int, z: float = Z95) -> Interval:
    """Score interval of a proportion (Wilson 1927; Newcombe 1998, method 3).

    It stays within [0, 1] and keeps a width at 0 and 1, where the textbook interval has none.

    Args:
        successes: float in [0, trials]; halves are allowed.
        trials: int > 0.
        z: normal quantile of the confidence wanted.

    Returns:
        The proportion and its interval.

    Raises:
        ValueError: if the counts are not as above.

    >>> [round(x, 4) for x in wilson_interval(15, 148)]  # Newcombe 1998, table I
    [0.1014, 0.0624, 0.1605]
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            "a proportion needs 0 <= successes <= trials and trials >= 1."
            f" Received: successes={successes}, trials={trials}"
        )
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    scale = 1 + z * z / trials
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return Interval(share, min(max(low, 0.0), share), max(min(high, 1.0), share))


def win_rate(scores: np.ndarray, baseline_scores: np.ndarray) -> WinRate:
    """Share of prompts on which the first policy scores higher; a tie counts one half.

    The interval is Wilson's over the prompts, one response each, which are the independent draws:
    it needs no random numbers and is right near 1, where bootstrap intervals collapse. A tie varies
    less than a coin, so with ties the interval errs on the wide side.

    Args:
        scores: float[N], of the policy in question.
        baseline_scores: float[N], of the other, on the same prompts in the same order.

    Returns:
        The rate, its 95 % interval, and the three counts.

    Raises:
        ValueError: if the shapes differ, are empty or not one-dimensional, or a score is NaN.

    >>> win_rate([2, 1, 5, 0], [1, 1, 3, 4])._asdict()["value"]  # two wins, one tie, one loss
    0.625
    """
    scores, baseline_scores = _paired("scores", scores, "baseline_scores", baseline_scores)
    wins = int(np.sum(scores > baseline_scores))
    losses = int(np.sum(scores < baseline_scores))
    ties = scores.size - wins - losses
    return WinRate(*wilson_interval(wins + ties / 2, scores.size), wins, ties, losses)


def mean_interval(values: np.ndarray) -> Interval:
    """Mean and its normal 95 % interval, mean +- 1.96 s / sqrt(N), with s^2 over N - 1.

    Args:
        values: float[N], N >= 2, independent.

    Raises:
        ValueError: if there are fewer than two values.
    """
    values = np.asarray(values, np.float64).ravel()
    if values.size < 2:
        raise ValueError(f"an interval needs at least two values. Received: {values.size}")
    mean = float(values.mean())
    half = Z95 * float(values.std(ddof=1)) / math.sqrt(values.size)
    return Interval(mean, mean - half, mean + half)


def pair_accuracy(chosen_scores: np.ndarray, rejected_scores: np.ndarray) -> Interval:
    """Share of pairs in which the chosen response scores higher, ties one half, with Wilson's
    interval.

    Args:
        chosen_scores: float[N].
        rejected_scores: float[N].
    """
    return Interval(*win_rate(chosen_scores, rejected_scores)[:3])


def calibration(
    confidence: np.ndarray, outcomes: np.ndarray, bins: int = 10, low: float = 0.0
) -> Calibration:
    """Reliability bins and expected calibration error (Naeini et al. 2015; Guo et al. 2017).

    Args:
        confidence: float[N] in [low, 1], the stated probability of being right.
        outcomes: float[N] in [0, 1]; 1 where it was right.
        bins: int > 0, of equal width; a bin holds its upper edge, the first one ``low`` too.
        low: where the bins begin.

    Returns:
        The bins and the expected calibration error.

    Raises:
        ValueError: if the shapes differ or a confidence lies outside.
    """
    confidence, outcomes = _paired("confidence", confidence, "outcomes", outcomes)
    if bins < 1:
        raise ValueError(f"calibration needs at least one bin. Received: bins={bins}")
    if confidence.min() < low or confidence.max() > 1:
        raise ValueError(
            f"confidence must lie in [{low}, 1]."
            f" Received: from {confidence.min()} to {confidence.max()}"
        )
    edges = np.linspace(low, 1.0, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, confidence, bins) / counts
        accuracy = np.bincount(index, outcomes, bins) / counts
    gaps = np.nan_to_num(np.abs(accuracy - mean_confidence))
    error = float(np.sum(counts * gaps) / confidence.size)
    return Calibration(edges, mean_confidence, accuracy, counts, error)


def preference_calibration(
    chosen_scores: np.ndarray, rejected_scores: np.ndarray, bins: int = 10
) -> Calibration:
    """Calibration of a Bradley-Terry reward model on held-out pairs.

    The model prefers the response it scores higher, with confidence sigmoid(|r_chosen -
    r_rejected|) in [0.5, 1]; it was right if that is the chosen one. Equal scores count one half.

    Args:
        chosen_scores: float[N], before any normalisation: Bradley-Terry scores are log-odds.
        rejected_scores: float[N].
        bins: int > 0, of equal width over [0.5, 1].

    Returns:
        As ``calibration``.
    """
    chosen_scores, rejected_scores = _paired(
        "chosen_scores", chosen_scores, "rejected_scores", rejected_scores
    )
    difference = chosen_scores - rejected_scores
    confidence = 1 / (1 + np.exp(-np.abs(difference)))
    return calibration(confidence, (np.sign(difference) + 1) / 2, bins, low=0.5)


def reward_by_kl(kl: np.ndarray, reward: np.ndarray, groups: int = 12) -> RewardByKL:
    """The reward-KL curve of a run: points sorted by KL and averaged in groups of equal size.

    Args:
        kl: float[N], nats, at each logged step.
        reward: float[N], at the same steps.
        groups: int > 0; fewer where N is smaller.

    Returns:
        The groups' mean KL and mean reward, by ascending KL.
    """
    kl, reward = _paired("kl", kl, "reward", reward)
    if groups < 1:
        raise ValueError(f"a curve needs at least one group. Received: groups={groups}")
    parts = np.array_split(np.argsort(kl, kind="stable"), min(groups, kl.size))
    return RewardByKL(
        np.array([kl[part].mean() for part in parts]),
        np.array([reward[part].mean() for part in parts]),
    )


def _paired(name: str, first: np.ndarray, other_name: str, second: np.ndarray):
    """Both as float64[N], checked to be pairs."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise ValueError(
            f"{name} and {other_name} must be of one shape (N,), N >= 1."
            f" Received: shapes {first.shape} and {second.shape}"
        )
    for array_name, array in ((name, first), (other_name, second)):
        if np.isnan(array).any():
            row = int(np.flatnonzero(np.isnan(array))[0])
            raise ValueError(f"{array_name} must be numbers. Received: NaN at row {row}")
    return first, second


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation (Spearman 1904), equal values sharing their mean rank; SciPy's.

    Args:
        first, second: float[N], N at least 2.

    Raises:
        ValueError: if one of them does not vary.

    >>> spearman([1, 2, 3], [10, 20, 15])
    0.5
    """
    from scipy.stats import spearmanr  # a second of imports

    if min(len(set(np.asarray(values).tolist())) for values in (first, second)) < 2:
        raise ValueError("A rank correlation needs values that vary")
    return float(spearmanr(first, second).statistic)
