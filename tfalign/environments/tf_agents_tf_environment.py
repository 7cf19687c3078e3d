"""Episodes wholly in graph, as a TF-Agents ``TFEnvironment``."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfalign import backend
from tfalign.environments.mdp import State, TextGenerationMDP
from tfalign.environments.tasks import repeat_prompt
from tfalign.environments.tf_agents_common import (
    action_spec,
    assertion,
    check_rows,
    observation_spec,
    tensor_spec,
    tf_environment,
    time_step,
)
from tfalign.functional.arguments import check_size
from tfalign.functional.random import uniform
from tfalign.threads import OneThread
from tfalign.types import Array


class TextGenerationTFEnvironment(tf_environment.TFEnvironment):
    """B rows of text generation, whose state is a few ``tf.Variable``s and whose step is one XLA
    program, so that a driver's loop never leaves the graph.

    Actions, observations and automatic resets are those of ``TextGenerationPyEnvironment``. Score,
    user, penalty and mask of the process must be made of ``keras.ops``.

    Args:
        mdp: TextGenerationMDP; None for ``tasks.repeat_prompt()``.
        batch_size: int, B.
        seed: int in [0, 2**32), of the choice of prompts.

    Raises:
        ValueError: if ``batch_size`` is not positive.
        tf.errors.InvalidArgumentError: in a step, before the first reset, if an action is no
            allowed id, or if a reward is not finite, naming the row; all episodes stand where
            they stood.
    """

    def __init__(
        self, mdp: TextGenerationMDP | None = None, batch_size: int = 1, seed: int = 0
    ) -> None:
        check_size("batch_size", batch_size)
        self.mdp = repeat_prompt() if mdp is None else mdp
        super().__init__(
            tensor_spec.from_spec(time_step.time_step_spec(observation_spec(self.mdp))),
            tensor_spec.from_spec(action_spec(self.mdp)),
            batch_size,
        )
        self.seed = np.uint32(seed)
        self._alone = OneThread("environment")
        self._initial = backend.jit(self.mdp.initial)
        self._compiled = backend.jit(self._advance)
        self._draws = tf.Variable(0, trainable=False)  # how often prompts have been drawn
        self._begun = tf.Variable(False, trainable=False)
        nobody = tf.zeros((batch_size,), tf.int32)
        self._state = State(*(_variable(x) for x in self._initial(nobody)))
        self._step_types = _variable(nobody)
        self._rewards = _variable(tf.zeros((batch_size,)))
        self._discounts = _variable(tf.ones((batch_size,)))

    @property
    def state(self) -> State:
        """State as it stands."""
        return State(*(tf.identity(variable) for variable in self._state))

    def begin(self, indices: Array) -> Any:
        """Resets all rows to the prompts int32[B] of these indices, instead of random ones.

        Raises:
            tf.errors.InvalidArgumentError: if there is no such prompt, naming the row.
        """
        rows = tf.zeros((self.batch_size,), tf.int32)
        indices = tf.convert_to_tensor(indices, tf.int32)
        count = len(self.mdp.prompts.token_ids)
        known = (indices >= 0) & (indices < count)
        outside = f"lies outside [0, {count})"
        with (
            self._alone,
            tf.control_dependencies(check_rows(known, "prompt index", outside, indices)),
        ):
            self._assign(
                self._initial(tf.identity(indices)),
                rows + int(time_step.StepType.FIRST),
                tf.cast(rows, tf.float32),
                tf.cast(rows, tf.float32) + 1.0,
            )
            self._begun.assign(True)
            return self._time_step()

    def _current_time_step(self):
        def reset():
            self._reset()
            return tf.constant(True)

        with tf.control_dependencies([tf.cond(self._begun, lambda: tf.constant(True), reset)]):
            return self._time_step()

    def _reset(self):
        return self.begin(self._draw())

    def _step(self, action):
        with self._alone:  # while it is traced; a compiled driver's threads are its own business
            return self._stepped(action)

    def _stepped(self, action):
        actions = tf.cast(action, tf.int32)
        before = self.state
        with tf.control_dependencies(self._checks(before, actions)):
            state, step_types, rewards, discounts = self._compiled(before, actions, self._draw())
        finite = tf.math.is_finite(rewards)
        with tf.control_dependencies(check_rows(finite, "reward", "is not finite", rewards)):
            self._assign(state, step_types, rewards, discounts)
        return self._time_step()

    def _advance(self, state, actions, indices):
        """What a step brings about; rows that were over begin anew with these prompts."""
        over = self.mdp.terminal(state)
        step = self.mdp.step(state, actions)
        ended = self.mdp.terminal(step.state)
        running = tf.where(ended, int(time_step.StepType.LAST), int(time_step.StepType.MID))
        following = State(
            *(
                tf.where(tf.reshape(over, (-1,) + (1,) * (new.shape.rank - 1)), fresh, new)
                for fresh, new in zip(self.mdp.initial(indices), step.state)
            )
        )
        return (
            following,
            tf.where(over, int(time_step.StepType.FIRST), running),
            tf.where(over, 0.0, step.rewards),
            tf.where(over, 1.0, self.mdp.discount(step.state)),
        )

    def _checks(self, state, actions):
        over = self.mdp.terminal(state)
        known = over | ((actions >= 0) & (actions < self.mdp.vocab_size))
        outside = f"is outside the vocabulary of {self.mdp.vocab_size}"
        checks = check_rows(known, "action", outside, actions)
        if self.mdp.allowed_tokens is not None:
            chosen = tf.where(known & ~over, actions, 0)
            allowed = tf.gather(self.mdp.action_mask(state), chosen, batch_dims=1)
            complaint = "is not allowed in its state"
            checks += check_rows(over | allowed, "action", complaint, actions)
        return checks + assertion(
            self._begun, "step was called before the first reset: call reset first"
        )

    def _draw(self):
        """int32[B], indices of prompts."""
        rows = tf.range(self.batch_size)
        numbers = uniform(self.seed, rows, tf.cast(self._draws.assign_add(1), tf.int32))
        count = len(self.mdp.prompts.token_ids)
        return tf.minimum(tf.cast(numbers * count, tf.int32), count - 1)

    def _assign(self, state, step_types, rewards, discounts):
        for variable, value in zip(self._state, state):
            variable.assign(value)
        self._step_types.assign(step_types)
        self._rewards.assign(rewards)
        self._discounts.assign(discounts)

    def _time_step(self):
        state = self.state
        token_ids, padding_mask = self.mdp.observation(state)
        observation = {"token_ids": token_ids, "padding_mask": tf.cast(padding_mask, tf.int32)}
        if self.mdp.allowed_tokens is not None:
            observation["action_mask"] = tf.cast(self.mdp.action_mask(state), tf.int32)
        return time_step.TimeStep(
            tf.identity(self._step_types),
            tf.identity(self._rewards),
            tf.identity(self._discounts),
            observation,
        )


def _variable(value):
    return tf.Variable(value, trainable=False)
