"""Win rates at equal length: how often a response would be preferred if both were as long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfalign.evaluation.statistics import Interval

_RIDGE = 1e-3  # of the length's coefficient, where wins are separated by it
_STEPS = 100


def length_controlled_win_rate(
    wins: Sequence[float], lengths: Sequence[float], baseline_lengths: Sequence[float]
) -> Interval:
    """The win rate without the length's part (Dubois et al. 2024, "Length-controlled AlpacaEval", without terms for the
    instructions): P(win) = sigmoid(a + b tanh(difference / its standard deviation)) is fitted, and a is what is left.

    Args:
        wins: float[N], 1 where the response is preferred to the baseline's, 0 where not, 0.5 for a tie.
        lengths: [N], of the responses, in any unit.
        baseline_lengths: [N], of the baseline's.

    Returns:
        Interval of sigmoid(a), 95%, by the curvature of the likelihood.

    Raises:
        ValueError: if the sequences are not of one length of at least 1, or a win is not between 0 and 1.

    >>> found = length_controlled_win_rate([1, 1, 0, 0], [9, 8, 2, 1], [5, 5, 5, 5])
    >>> round(found.value, 3)  # the longer wins: nothing is left
    0.5
    """
    wins, lengths, others = (np.asarray(x, np.float64) for x in (wins, lengths, baseline_lengths))
    if not (wins.ndim == 1 and len(wins) and wins.shape == lengths.shape == others.shape):
        raise ValueError(
            "Wins and lengths must be as many, at least 1. "
            f"Received: shapes {wins.shape}, {lengths.shape}, {others.shape}"
        )
    if not np.all((wins >= 0) & (wins <= 1)):
        raise ValueError(f"A win must be between 0 and 1. Received: {wins.min()} to {wins.max()}")
    differences = lengths - others
    spread = differences.std()
    scaled = np.tanh(differences / spread) if spread else 0 * differences
    inputs = np.stack([np.ones_like(scaled), scaled], axis=1)
    weights, curvature = _fitted(inputs, wins)
    error = 1.96 * np.sqrt(np.linalg.inv(curvature)[0, 0])
    value, low, high = (float(_sigmoid(weights[0] + shift)) for shift in (0.0, -error, error))
    return Interval(value, low, high)


def _fitted(inputs, wins):
    """(weights float64[2], curvature of the negative log-likelihood there) by Newton's steps."""
    weights, penalty = np.zeros(2), _RIDGE * np.eye(2)
    for _ in range(_STEPS):
        chances = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (chances - wins) + penalty @ weights
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curvature, gradient)
        weights = weights - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            break
    return weights, curvature


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x)))[()]
