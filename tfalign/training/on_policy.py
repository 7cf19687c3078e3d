"""One iteration of on-policy alignment: query, respond, score, train, record."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops, tree

from tfalign import backend
from tfalign.rewards.errors import RewardError
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.packing import packed_batch
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Array, Prompts, Rollout


def improve(
    worker: RolloutWorker,
    learner: Learner,
    prompts: Prompts,
    kl_control: FixedKL,
    *,
    seed: int,
    step: int,
    epochs: int = 4,
    minibatch_size: int | None = None,
    target_kl: float | None = None,
    on_bad: str = "stop",
    arrange: Callable[[Rollout, int], Any] | None = None,
) -> tuple[Rollout | None, dict[str, float]]:
    """One iteration: samples a batch of rollouts and updates the policy on them.

    Args:
        worker: RolloutWorker.
        learner: Learner with an on-policy objective, such as PPO, on the worker's actor-critic.
        prompts: Prompts, from which the worker makes rollouts of B rows.
        kl_control: FixedKL or AdaptiveKL.
        seed: int, of the run.
        step: int, number of the iteration; with the seed it decides all randomness.
        epochs: int, passes over the rollouts, each in an order of its own.
        minibatch_size: int dividing B, rollouts of an update; B where None.
        target_kl: float, nats a token; no further epoch follows one whose last minibatch's
            ``approx_kl`` exceeds it. None to go through all.
        on_bad: "stop", or "skip" to leave a batch alone whose reward fails or is not finite.
        arrange: ``(Rollout, group_size) -> what the objective learns from``, see
            ``training.selection``; None for the Rollout itself.

    Returns:
        (Rollout, dict of floats): the worker's statistics, the objective's metrics in mean over the
        updates in which they are finite, and "kl_coefficient", "updates" and, where the objective takes ratios,
        "first_max_log_ratio" (how far the first minibatch's ratio was from 1, which on-policy means 0
        up to rounding). For a batch left alone (None, {"skipped": 1.0}).

    Raises:
        ValueError: if minibatches do not divide the batch, or on_bad is unknown, or there is a
            target_kl and the objective does not say its ``approx_kl``, or rollouts are packed and the objective
            compares whole responses.
        RewardError: by choice, if a reward fails or is not finite.
    """
    coefficient = kl_control.coefficient
    sampled = _sampled(worker, prompts, rollout_seed(seed, step), coefficient, on_bad, step)
    if sampled is None:
        return None, {"skipped": 1.0}
    rollout, statistics = sampled
    rows = len(rollout.scores)
    minibatch_size = minibatch_size or rows
    if rows % minibatch_size:
        raise ValueError(
            f"Minibatches of {minibatch_size} do not divide a batch of {rows} rollouts"
        )
    batch = rollout if arrange is None else arrange(rollout, worker.config.group_size)
    generator = np.random.default_rng([seed, step])
    updates = []
    for _ in range(epochs):
        order = generator.permutation(len(batch.token_ids)).astype("int32")
        updates += one_pass(learner, batch, order, rows // minibatch_size, worker.config.packed)
        if target_kl is not None and _approx_kl(updates[-1]) > target_kl:
            break
    kl_control.update(statistics["kl"], rows)
    worker.learn(statistics)
    return rollout, statistics | _told(updates) | {"kl_coefficient": coefficient}


def _told(updates):
    """What the updates of a batch said, as one dict of floats."""
    metrics = {key: _finite_mean([float(u[key]) for u in updates]) for key in updates[0]}
    metrics["updates"] = float(len(updates))
    if "max_log_ratio" in updates[0]:
        metrics["first_max_log_ratio"] = float(updates[0]["max_log_ratio"])
    if "skipped_updates" in updates[0]:
        metrics["skipped_updates"] = float(updates[-1]["skipped_updates"])
    return metrics


def _sampled(worker, prompts, seed, kl_coefficient, on_bad, step):
    """(Rollout, statistics) of a batch; None for one whose reward fails and that is to be skipped."""
    if on_bad not in ("stop", "skip"):
        raise ValueError(f'on_bad is "stop" or "skip". Received: on_bad={on_bad!r}')
    try:
        return worker(prompts, seed, kl_coefficient)
    except RewardError as error:
        if on_bad == "stop":
            raise
        warnings.warn(f"Batch {step} is skipped: {error}", stacklevel=3)
        return None


def rollout_seed(seed: int, step: int) -> int:
    """Seed of the responses sampled in a step of a run: int in [0, 2**32)."""
    return np.random.SeedSequence([seed, step]).generate_state(1)[0]


def one_pass(
    learner: Learner, batch: Any, order: Array, minibatches: int, packed: bool = False
) -> list[dict[str, Array]]:
    """One epoch: updates on all rows, minibatch by minibatch.

    Args:
        learner: Learner.
        batch: what its objective takes, rows first.
        order: int32[rows], a permutation.
        minibatches: int dividing the rows.
        packed: whether each minibatch is a Rollout to be updated on in packed rows, see ``training.packing``.

    Returns:
        list of what the learner says of each update.

    Raises:
        ValueError: if the minibatches do not divide the rows, or cannot be packed that are to.
    """
    rows = order.shape[0]
    if rows % minibatches:
        raise ValueError(f"{minibatches} minibatches do not divide {rows} rows to learn from")
    dealt = _deal(batch, ops.reshape(order, (minibatches, rows // minibatches)))
    if packed:
        dealt = [packed_batch(minibatch, learner.parts) for minibatch in dealt]
    return [learner.update(minibatch) for minibatch in dealt]


def _finite_mean(numbers):
    """Their mean without those of updates that were skipped; NaN if there are no others."""
    finite = [number for number in numbers if np.isfinite(number)]
    return float(np.mean(finite)) if finite else float("nan")


def _approx_kl(metrics):
    if "approx_kl" not in metrics:
        raise ValueError("target_kl stops by approx_kl, which this objective does not say")
    return float(metrics["approx_kl"])


def _minibatches(batch, rows):
    """A list of batches, of the rows that each line of int32[M, rows of a minibatch] names."""
    return [
        tree.map_structure(
            lambda x, chosen=rows[i]: ops.take(x, chosen, axis=0), batch, none_is_leaf=False
        )
        for i in range(rows.shape[0])
    ]


_deal = backend.jit(_minibatches)  # one program, not one for every field of every minibatch
