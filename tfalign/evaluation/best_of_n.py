"""Best of n: what is gained by drawing several responses and keeping the best, and how far it goes.

A response drawn so beats a single draw with probability n / (n + 1), and its distribution is at most
log n - (n - 1) / n nats from the one drawn from (``overoptimisation.best_of_n_kl``; Beirami et al.
2024). Both are exact where no two draws tie.
"""

from __future__ import annotations

import numpy as np


def best_of_n_distribution(probabilities: np.ndarray, scores: np.ndarray, n: int) -> np.ndarray:
    """The distribution of the best of n draws, of equal ones the first.

    Args:
        probabilities: float[N], of all responses there are.
        scores: float[N], by which the best is chosen.
        n: int >= 1.

    Returns:
        float64[N].

    >>> best_of_n_distribution([0.5, 0.5], [0.0, 1.0], 2).tolist()
    [0.25, 0.75]
    """
    probabilities = np.asarray(probabilities, np.float64)
    _, tier = np.unique(np.asarray(scores), return_inverse=True)
    mass = np.bincount(tier, probabilities)
    at_most = np.cumsum(mass)
    best = at_most**n - np.maximum(at_most - mass, 0.0) ** n  # that the best is of a tier
    return probabilities * (best / np.maximum(mass, 1e-300))[tier]


def win_probability(best: np.ndarray, single: np.ndarray, scores: np.ndarray) -> float:
    """That a draw from one distribution scores higher than one from the other; a tie counts half.

    Args:
        best: float[N], a distribution over all responses.
        single: float[N], another.
        scores: float[N].
    """
    _, tier = np.unique(np.asarray(scores), return_inverse=True)
    best, single = np.bincount(tier, best), np.bincount(tier, single)
    return float(best @ (np.cumsum(single) - single / 2))


def best_of_n_log_ratio(log_probs: np.ndarray, shares_at_most: np.ndarray, n: int) -> np.ndarray:
    """log P_n(y) / p(y) of responses y whose score no other response has; its mean over best-of-n
    draws is their KL to p.

    P_n(y) = F^n - (F - p)^n, F the probability of a score of at most y's.

    Args:
        log_probs: float[...], log p(y), nats.
        shares_at_most: float[...], F in (0, 1], possibly estimated; at least p(y) is taken.
        n: int >= 1.

    Returns:
        float64[...], nats.

    >>> bool(np.isclose(best_of_n_log_ratio(np.log(0.5), 1.0, 2), np.log(0.75 / 0.5)))
    True
    """
    log_probs = np.asarray(log_probs, np.float64)
    log_shares = np.maximum(np.log(shares_at_most), log_probs)
    with np.errstate(divide="ignore"):  # p = F: nothing scores lower
        none_else = n * np.log1p(-np.exp(log_probs - log_shares))
    return n * log_shares + np.log(-np.expm1(none_else)) - log_probs
