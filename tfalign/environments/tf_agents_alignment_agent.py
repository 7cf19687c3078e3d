"""tfalign's own on-policy alignment as a TF-Agents ``TFAgent``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfalign import backend
from tfalign.decoding import Greedy, Sampler
from tfalign.decoding.constraints import states_before
from tfalign.environments.tf_agents_common import (
    check_rows,
    data_converter,
    tf_agent,
    time_step,
)
from tfalign.environments.tf_agents_gpt_policy import GPTPolicy
from tfalign.functional.random import uniform
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import one_pass
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Array, Generation, Prompts, Rollout


class Episodes(NamedTuple):
    """One complete episode a row, as a rollout has it: P prompt columns, then R of the response."""

    token_ids: Any  # int32[B, P + R]
    padding_mask: Any  # bool[B, P + R]
    generation: Generation
    scores: Any  # float32[B], the sum of what was earned
    whole: Any  # bool[B], whether the row's first episode is there from its beginning to its end


class AlignmentAgent(tf_agent.TFAgent):
    """PPO, or any on-policy algorithm without groups, behind TF-Agents' interface: so their drivers,
    metrics, replay buffers and Learner align a language model.

    ``train`` takes experience that ``collect_policy`` has written, a Trajectory of B rows and S
    steps, and makes one Rollout of each row: of the first episode that begins in it. So it learns
    from what the policy says, and not more from what it says in few words: of episodes that happen
    to end within a stretch of time, too many are short. S must leave room for that episode: R
    steps if the environment is reset before they are collected, 2 R if a window begins anywhere.

    The environment earns the score alone: missing stops, KL to the reference, values, advantages
    and updates are the worker's and the learner's, as in ``training.on_policy.improve``. Policies
    act with the worker's own model; all weights, and the optimizer's variables, are the agent's for
    TensorFlow's checkpoints.

    Args:
        time_step_spec: of the environment; with an action mask where the worker has a constraint, which is the
            process's (``StateConstraint``).
        action_spec: of the environment.
        worker: RolloutWorker; its reward is not called.
        learner: Learner on the worker's actor-critic.
        kl_control: FixedKL or AdaptiveKL; ``FixedKL()`` where None.
        epochs: int, passes over the rollouts, each in an order of its own.
        minibatches: int dividing B, updates of a pass.
        seed: int, of sampling and of the orders.
        train_step_counter: int64 tf.Variable, counts calls of ``train``; TensorFlow's global step
            where None.

    Raises:
        ValueError: if actions are masked and there is no constraint, or the other way round; or the worker needs groups, a baseline, a limit on costs or
            a sampler of its own.
        tf.errors.InvalidArgumentError: in ``train``, if a row has no complete first episode.
    """

    def __init__(
        self,
        time_step_spec: Any,
        action_spec: Any,
        worker: RolloutWorker,
        learner: Learner,
        kl_control: FixedKL | None = None,
        epochs: int = 4,
        minibatches: int = 4,
        seed: int = 0,
        train_step_counter: tf.Variable | None = None,
        name: str | None = None,
    ) -> None:
        tf.Module.__init__(self, name=name)
        _check(time_step_spec, worker)
        config = worker.config
        acting = worker.actor_critic.policy, time_step_spec, action_spec, config.max_new_tokens
        super().__init__(
            time_step_spec,
            action_spec,
            GPTPolicy(*acting, Greedy()),
            GPTPolicy(
                *acting,
                Sampler(config.temperature),
                seed,
                value_head=worker.responder.generator.value_head,
            ),
            train_sequence_length=None,
            train_step_counter=train_step_counter,
        )
        self._parts = _Parts(worker, learner, FixedKL() if kl_control is None else kl_control)
        self._as_trajectory = data_converter.AsTrajectory(self.data_context)
        self._kl_coefficient = tf.Variable(self._parts.kl_control.coefficient, trainable=False)
        self._epochs, self._minibatches = epochs, minibatches
        self._order_seed = np.random.SeedSequence([seed, 1]).generate_state(1)[0]
        trained = [*learner.model.variables, *learner.optimizer.variables]
        self._weights = [variable.value for variable in trained]

    def _train(self, experience, weights=None):
        if weights is not None:
            raise ValueError("AlignmentAgent.train takes no weights: rows count alike")
        rollout, statistics = self.rollouts(experience)
        coefficient = tf.identity(self._kl_coefficient)
        rows, updates = rollout.scores.shape[0], []
        for epoch in range(self._epochs):
            number = tf.cast(self.train_step_counter, tf.int32) * self._epochs + epoch
            order = tf.argsort(uniform(self._order_seed, tf.range(rows), number))
            updates += one_pass(self._parts.learner, rollout, order, self._minibatches)
        self._kl_coefficient.assign(self._parts.controlled(coefficient, statistics["kl"], rows))
        self.train_step_counter.assign_add(1)
        means = {name: tf.reduce_mean([u[name] for u in updates]) for name in updates[0]}
        extra = statistics | means | {"kl_coefficient": coefficient}
        extra["skipped_updates"] = updates[-1]["skipped_updates"]
        if "max_log_ratio" in means:
            extra["first_max_log_ratio"] = updates[0]["max_log_ratio"]
        return tf_agent.LossInfo(loss=means["loss"], extra=extra)

    def rollouts(self, experience: Any) -> tuple[Rollout, dict[str, Array]]:
        """What ``train`` learns from.

        Args:
            experience: Trajectory of [B, S, ...] tensors, B and S known when traced.

        Returns:
            (Rollout, statistics), see ``RolloutWorker``.
        """
        experience = self._as_trajectory(experience)
        if None in experience.reward.shape:
            raise ValueError(
                "The experience must have a known number of rows and steps (a dataset of their "
                "replay buffer has, with sample_batch_size and num_steps). Received: "
                f"{experience.reward.shape}"
            )
        episodes = self._parts.first_episodes(experience)
        length = tf.fill(episodes.whole.shape, experience.reward.shape[1])
        complaint = "is not complete in the steps that were collected"
        with tf.control_dependencies(
            check_rows(episodes.whole, "first episode", complaint, length)
        ):
            token_ids = tf.identity(episodes.token_ids)
        return self._parts.worker.finish(
            token_ids,
            episodes.padding_mask,
            self._parts.constrained(episodes),
            episodes.scores,
            tf.identity(self._kl_coefficient),
            tf.zeros_like(episodes.scores),
        )


class _Parts:
    """What the agent is made of; no ``tf.Module``, which would track layers as well as weights."""

    def __init__(self, worker, learner, kl_control):
        self.worker = worker
        self.learner = learner
        self.kl_control = kl_control
        length, pad_id = worker.config.max_new_tokens, worker.config.pad_id
        self.first_episodes = backend.jit(lambda x: first_episodes(x, length, pad_id))

    def constrained(self, episodes):
        """The episodes' Generation, with the states of the worker's constraint, where it has one."""
        generation, constraint = episodes.generation, self.worker.config.constraint
        if constraint is None:
            return generation
        columns = episodes.token_ids.shape[1] - generation.tokens.shape[1]
        prompts = Prompts(episodes.token_ids[:, :columns], episodes.padding_mask[:, :columns])
        states = states_before(constraint, prompts, generation.tokens, generation.mask)
        return generation._replace(constraint_states=states)

    def controlled(self, coefficient, kl, episodes):
        """float32[], the KL coefficient after an update: the agent's variable is what is true."""

        def control(coefficient, kl):
            self.kl_control.restore({"coefficient": float(coefficient)})
            self.kl_control.update(float(kl), episodes)
            return np.float32(self.kl_control.coefficient)

        moved = tf.numpy_function(control, [coefficient, kl], tf.float32)
        return tf.ensure_shape(moved, ())


def first_episodes(experience: Any, max_new_tokens: int, pad_id: int = 0) -> Episodes:
    """The first episode that begins in each row.

    Args:
        experience: Trajectory of GPTPolicy, [B, S, ...] tensors.
        max_new_tokens: int, R.
        pad_id: int, what stands where the policy wrote nothing.

    Returns:
        Episodes.
    """
    begins = experience.step_type == int(time_step.StepType.FIRST)
    ends = experience.next_step_type == int(time_step.StepType.LAST)
    first = tf.argmax(begins, axis=1, output_type=tf.int32)
    steps = first[:, None] + tf.range(max_new_tokens)
    within = steps < begins.shape[1]

    def of_episode(x):
        """[B, S] to [B, R], from the first step on."""
        return tf.gather(x, tf.minimum(steps, begins.shape[1] - 1), batch_dims=1)

    ended = of_episode(ends) & within
    taken = within & (tf.cumsum(tf.cast(ended, tf.int32), axis=1, exclusive=True) == 0)
    length = tf.reduce_sum(tf.cast(taken, tf.int32), axis=1)
    known = of_episode(tf.reduce_sum(experience.observation["padding_mask"], axis=2))
    columns = known - known[:, :1]  # a token was written behind all that was known

    def in_columns(x):
        """[B, R] by step to [B, R] by column of the response, 0 in those that a user wrote."""
        return tf.reduce_sum(tf.where(places, of_episode(x)[:, :, None], 0), axis=1)

    places = taken[:, :, None] & (columns[:, :, None] == tf.range(max_new_tokens))
    mask = tf.reduce_any(places, axis=1)
    tokens = in_columns(experience.action)
    value = experience.policy_info.get("value")
    token_ids, padding_mask = _whole_texts(experience, first + length - 1, tokens, mask)
    return Episodes(
        token_ids=token_ids,
        padding_mask=padding_mask,
        generation=Generation(
            tokens=tf.where(mask, tokens, pad_id),
            log_probs=in_columns(experience.policy_info["log_probability"]),
            mask=mask,
            values=None if value is None else in_columns(value),
        ),
        scores=tf.reduce_sum(tf.where(taken, of_episode(experience.reward), 0.0), axis=1),
        whole=tf.reduce_any(begins, axis=1) & tf.reduce_any(ended & taken, axis=1),
    )


def _whole_texts(experience, last, tokens, mask):
    """What was known at each row's last step, with the policy's tokens: (token_ids, padding_mask) [B, T]."""
    text, known = (
        tf.gather(experience.observation[name], last, batch_dims=1)
        for name in ("token_ids", "padding_mask")
    )
    before = ((0, 0), (text.shape[1] - mask.shape[1], 0))
    of_policy = tf.pad(mask, before)
    token_ids = tf.where(of_policy, tf.pad(tokens, before), text)
    return token_ids, tf.cast(known, tf.bool) | of_policy


def _check(time_step_spec, worker):
    is_masked = "action_mask" in time_step_spec.observation
    if is_masked != (worker.config.constraint is not None):
        raise ValueError(
            "AlignmentAgent learns of the worker's constraint, which is the process's allowed_tokens. Received: a spec "
            f"{'with' if is_masked else 'without'} action_mask, constraint={worker.config.constraint}"
        )
    given = {
        "group_size": worker.config.group_size > 1,
        "baseline": worker.baseline is not None,
        "cost_limits": worker.cost_limits is not None,
        "older": worker.older is not None,
        "packed": worker.config.packed,
    }
    for name, is_given in given.items():
        if is_given:
            raise ValueError(f"AlignmentAgent has no use for a worker's {name}. Received: {name}")
