"""What is known of a finite automaton before it runs, on NumPy arrays alone."""

from __future__ import annotations

import numpy as np

NEVER = 2**15 - 1  # a distance: no text ends


def trimmed(table: np.ndarray, accepting: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states that are reached and from which an end is reached, and how far that is.

    Args:
        table: int32[S, K], the state after each of K steps, -1 where there is none; state 0 is the first.
        accepting: bool[S], whether a text may end.

    Returns:
        (int32[S', K]; bool[S']; int32[S'], steps to the nearest end, the one that says so counted). State 0 stays,
        though it be alone and its distance NEVER.

    >>> table, accepting, distances = trimmed(np.array([[1, 2], [-1, -1], [2, 2]]), np.array([False, True, False]))
    >>> table.tolist(), distances.tolist()
    ([[1, -1], [-1, -1]], [2, 1])
    """
    distances = np.where(accepting, 1, NEVER).astype("int32")
    while True:  # one step further in each round
        after = np.append(distances, [NEVER])[table].min(axis=1) + 1
        closer = np.minimum(distances, np.minimum(after, NEVER))
        if (closer == distances).all():
            break
        distances = closer
    table = np.where(np.append(distances < NEVER, [False])[table], table, -1)
    reached = np.zeros(len(table), "bool")
    fresh = np.array([0])
    while len(fresh):
        reached[fresh] = True
        found = np.unique(table[fresh])
        fresh = found[(found >= 0)][~reached[found[found >= 0]]]
    number = np.append(np.cumsum(reached) - 1, [-1])
    return number[table[reached]].astype("int32"), accepting[reached], distances[reached]
