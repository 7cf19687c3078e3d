"""Selection within groups of responses: the best, or the best and the worst.

For ``on_policy.improve``: functions of a Rollout, whose responses to a prompt stand next to each other,
that return what the objective learns from.
"""

from __future__ import annotations

import numpy as np
from keras import ops, tree

from tfalign.functional.masking import masked_sum
from tfalign.types import Array, RankedResponses, Rollout


def best_rows(scores: Array, group_size: int) -> Array:
    """Row indices of the response with the highest reward in each group; of equal ones the first.

    Args:
        scores: float[B], the responses to a prompt next to each other.
        group_size: int, responses to a prompt; divides B.

    Returns:
        int32[B / group_size].

    >>> best_rows([1.0, 3.0, 2.0, 2.0], 2).tolist()
    [1, 2]
    """
    groups = np.reshape(np.asarray(scores), (-1, group_size))
    first = group_size * np.arange(len(groups))
    return (first + groups.argmax(axis=1)).astype("int32")


def best_of_groups(rollout: Rollout, group_size: int) -> Rollout:
    """The best response to every prompt, for the policy to imitate: rejection sampling (Dong et al.
    2023, RAFT; Touvron et al. 2023, section 3.2.3).

    Args:
        rollout: Rollout of B rows.
        group_size: int, responses to a prompt.

    Returns:
        Rollout of B / group_size rows; all advantages are 1.
    """
    best = _rows(rollout, best_rows(rollout.scores, group_size))
    return best._replace(advantages=ops.cast(best.response_mask, "float32"))


def best_and_worst(rollout: Rollout, group_size: int) -> RankedResponses:
    """Preference pairs for online DPO: the best and the worst response to each prompt.

    Args:
        rollout: Rollout of B rows.
        group_size: int, responses to a prompt, at least 2.

    Returns:
        RankedResponses of B / group_size prompts, K = 2. Where all scores are equal there is nothing
        to prefer: the rows have no response token and count nowhere.
    """
    scores = np.asarray(rollout.scores)
    best, worst = best_rows(scores, group_size), best_rows(-scores, group_size)
    rows = np.stack([best, worst], axis=1)
    differ = (scores[best] > scores[worst])[:, None, None]
    response_mask = np.asarray(rollout.response_mask)
    ref_log_probs = masked_sum(rollout.ref_log_probs, response_mask, axis=1)
    return RankedResponses(
        np.asarray(rollout.token_ids)[rows],
        np.asarray(rollout.padding_mask)[rows],
        response_mask[rows] & differ,
        np.asarray(ref_log_probs)[rows],
        None if rollout.condition is None else np.asarray(rollout.condition)[rows],
    )


def _rows(rollout, rows):
    return tree.map_structure(lambda x: ops.take(x, rows, axis=0), rollout, none_is_leaf=False)
