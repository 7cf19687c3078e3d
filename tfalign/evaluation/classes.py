"""Classes of texts: what a text's windows say together, and how many texts are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfalign.evaluation.statistics import Interval, wilson_interval


class ClassScores(NamedTuple):
    """Of all texts together."""

    accuracy: Interval
    texts: int


def by_text(log_probs: Sequence[np.ndarray], texts: np.ndarray) -> np.ndarray:
    """Log-probabilities of each text's classes, up to a constant: the sums over its windows.

    Args:
        log_probs: N arrays float[C], of windows.
        texts: int[N], index of each window's text, ascending.

    Returns:
        float64[number of texts, C].

    >>> by_text([[-1.0, -2.0], [-3.0, -0.5], [-0.25, -4.0]], [0, 0, 1]).tolist()
    [[-4.0, -2.5], [-0.25, -4.0]]
    """
    sums = np.zeros((texts[-1] + 1, len(log_probs[0])))
    np.add.at(sums, texts, log_probs)
    return sums


def score_classes(
    log_probs: Sequence[np.ndarray], texts: np.ndarray, labels: np.ndarray
) -> ClassScores:
    """Accuracy of whole texts, with Wilson's 95 % interval.

    Args:
        log_probs, texts: see ``by_text``.
        labels: int[N], class of each window's text.

    >>> scores = score_classes([[-1.0, -2.0], [-3.0, -0.5], [-0.25, -4.0]], [0, 0, 1], [1, 1, 1])
    >>> scores.accuracy.value, scores.texts
    (0.5, 2)
    """
    _, first = np.unique(texts, return_index=True)
    actual = np.asarray(labels)[first]
    right = int(np.sum(np.argmax(by_text(log_probs, texts), axis=-1) == actual))
    return ClassScores(wilson_interval(right, len(actual)), len(actual))
