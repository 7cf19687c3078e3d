"""One iteration of on-policy alignment: query, respond, score, train, record."""

from __future__ import annotations

import warnings

import numpy as np
from keras import ops, tree

from tfalign.rewards.errors import RewardError


def improve(
    worker,
    learner,
    prompts,
    kl_control,
    *,
    seed,
    step,
    epochs=4,
    minibatch_size=None,
    target_kl=None,
    on_bad="stop",
):
    """Samples a batch of rollouts and takes the policy through them.

    Args:
        worker: RolloutWorker.
        learner: Learner with an on-policy objective, such as PPO, on the worker's actor-critic.
        prompts: Prompts, from which the worker makes rollouts of B rows.
        kl_control: FixedKL or AdaptiveKL.
        seed: int, of the run.
        step: int, number of the iteration; with the seed it decides all randomness.
        epochs: int, passes over the rollouts, each in an order of its own.
        minibatch_size: int dividing B; B where None.
        target_kl: float, nats a token; no further epoch follows one whose last minibatch's
            ``approx_kl`` exceeds it. None to go through all.
        on_bad: "stop", or "skip" to leave a batch alone whose reward fails or is not finite.

    Returns:
        (Rollout, dict of floats): the worker's statistics, the objective's metrics in mean over the
        updates, and "kl_coefficient", "updates", "first_max_log_ratio" (how far the first
        minibatch's ratio was from 1, which on-policy means 0 up to rounding). For a batch left
        alone (None, {"skipped": 1.0}).

    Raises:
        ValueError: if minibatches do not divide the batch, or on_bad is unknown.
        RewardError: by choice, if a reward fails or is not finite.
    """
    if on_bad not in ("stop", "skip"):
        raise ValueError(f'on_bad is "stop" or "skip". Received: on_bad={on_bad!r}')
    rollout_seed = np.random.SeedSequence([seed, step]).generate_state(1)[0]
    try:
        rollout, statistics = worker(prompts, rollout_seed, kl_control.coefficient)
    except RewardError as error:
        if on_bad == "stop":
            raise
        warnings.warn(f"Batch {step} is skipped: {error}", stacklevel=2)
        return None, {"skipped": 1.0}
    rows = len(rollout.scores)
    minibatch_size = minibatch_size or rows
    if rows % minibatch_size:
        raise ValueError(
            f"Minibatches of {minibatch_size} do not divide a batch of {rows} rollouts"
        )
    generator = np.random.default_rng([seed, step])
    updates = []
    for _ in range(epochs):
        order = generator.permutation(rows).astype("int32")
        for start in range(0, rows, minibatch_size):
            chosen = order[start : start + minibatch_size]
            updates.append(learner.update(_rows(rollout, chosen)))
        if target_kl is not None and float(updates[-1]["approx_kl"]) > target_kl:
            break
    coefficient = kl_control.coefficient
    kl_control.update(statistics["kl"], rows)
    worker.learn(statistics)
    metrics = {key: float(np.mean([float(u[key]) for u in updates])) for key in updates[0]}
    return rollout, (
        statistics
        | metrics
        | {
            "kl_coefficient": coefficient,
            "updates": float(len(updates)),
            "first_max_log_ratio": float(updates[0]["max_log_ratio"]),
        }
    )


def _rows(rollout, chosen):
    return tree.map_structure(lambda x: ops.take(x, chosen, axis=0), rollout)
