"""A CausalLM as a TF-Agents ``TFPolicy`` that decodes one token a step from a key-value cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfalign import backend
from tfalign.decoding import Greedy, Sampler
from tfalign.decoding.samplers import allow
from tfalign.decoding.stepwise import catch_up, check_columns, is_behind, next_tokens
from tfalign.environments.tf_agents_common import policy_step, tf_policy, tfp
from tfalign.functional.masking import last_true_index
from tfalign.functional.random import uniform


class PolicyState(NamedTuple):
    """What one step hands to the next. All zeros is a row of which nothing is known yet."""

    cache: (
        Any  # the model's keys and values, T - 1 columns, each where its token stands in the text
    )
    columns: Any  # int32[B], how many of them are of the row's text
    stream: Any  # int32[B], of random numbers, see ``GPTPolicy``


class GPTPolicy(tf_policy.TFPolicy):
    """Acts in TextGenerationTFEnvironment, or its Python sibling, as the decode loop does.

    An episode's first step runs the prompt, a few rows at a time; every further one runs the one
    token that came last, whatever the length of the text, and a user's words as they come. A row
    that begins anew leaves the others alone. A step without the state of the one before (a driver
    that runs again) reads the text once more and goes on.

    The n-th episode that a policy object meets draws from stream n of ``functional.random``, the
    token in response column t with its t-th number. So the first B episodes of a batch are what
    ``decoding.generate`` says with the same seed, and those after it what a ``Generator`` says
    with row ids B, B + 1, ...

    ``info``: "log_probability" float32[B], of the actions under the distribution sampled from;
    with a value head "value" float32[B], of the states acted in. Weights are the model's own.

    Args:
        model: CausalLM.
        time_step_spec: of the environment; an "action_mask" in its observations is obeyed.
        action_spec: of the environment.
        max_new_tokens: int, R, of the process: the last R columns of a text are the response.
        sampler: ``Sampler`` or ``Greedy``.
        seed: int in [0, 2**32).
        value_head: ``ValueHead`` on the model's trunk; None for no values.

    Raises:
        ValueError: if a text may have more tokens than the model has positions, an action is no
            token of the model, or it keeps no columns (``stepwise.check_columns``).
    """

    def __init__(
        self,
        model: keras.Model,
        time_step_spec: Any,
        action_spec: Any,
        max_new_tokens: int,
        sampler: Sampler | Greedy = Sampler(),
        seed: int = 0,
        value_head: Callable[[tf.Tensor], tf.Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        total = time_step_spec.observation["token_ids"].shape[0]
        check_columns(model)
        _check_sizes(model, total, action_spec)
        cache = model.backbone.new_cache(1, total - 1)
        per_row = tf.TensorSpec((), tf.int32)
        info_spec = {"log_probability": tf.TensorSpec((), tf.float32)}
        if value_head is not None:
            info_spec["value"] = tf.TensorSpec((), tf.float32)
        super().__init__(
            time_step_spec,
            action_spec,
            PolicyState(
                tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape[1:], x.dtype), cache),
                columns=per_row,
                stream=per_row,
            ),
            info_spec,
            clip=False,
            automatic_state_reset=False,  # it copies the cache, and ``columns`` says as much
            name=name,
        )
        self.seed = np.uint32(seed)
        self._steps = _Steps(model, sampler, value_head, total - max_new_tokens)
        self._weights = [variable.value for variable in self._steps.variables]
        self._episodes = tf.Variable(0, trainable=False, name="episodes")

    def _action(self, time_step, policy_state, seed=None):
        seed = self.seed if seed is None else tf.cast(seed, tf.uint32)
        state, tokens, info, _ = self._act(time_step, policy_state, seed)
        return policy_step.PolicyStep(tokens, state, info)

    def _distribution(self, time_step, policy_state):
        state, _, info, hidden = self._act(time_step, policy_state, self.seed)
        logits = self._steps.distribution(hidden, _action_mask(time_step.observation))
        chosen = tfp.distributions.Categorical(logits=logits, dtype=tf.int32)
        return policy_step.PolicyStep(chosen, state, info)

    def _act(self, time_step, state, seed):
        """(PolicyState, tokens int32[B], info, hidden float[B, W])."""
        token_ids = time_step.observation["token_ids"]
        padding_mask = tf.cast(time_step.observation["padding_mask"], tf.bool)
        columns = tf.where(time_step.is_first(), 0, state.columns)
        stream = self._streams(columns == 0, state.stream)
        behind = is_behind(columns, padding_mask) & ~time_step.is_last()
        cache, columns = tf.cond(
            tf.reduce_any(behind),
            lambda: self._steps.catch_up(state.cache, columns, token_ids, padding_mask),
            lambda: (state.cache, columns),
        )
        cache, columns, tokens, info, hidden = self._steps.draw(
            cache, token_ids, padding_mask, _action_mask(time_step.observation), seed, stream
        )
        return PolicyState(cache, columns, stream), tokens, info, hidden

    def _streams(self, begins, streams):
        """int32[B], with streams that nothing was drawn from yet in rows that begin."""
        numbers = tf.cumsum(tf.cast(begins, tf.int32))
        used = self._episodes.assign_add(numbers[-1]) - numbers[-1]
        return tf.where(begins, used + numbers - 1, streams)


class _Steps:
    """What the model does in a step, compiled; no ``tf.Module``, which would track layers too."""

    def __init__(self, model, sampler, value_head, prompt_columns):
        self.model = model
        self.sampler = sampler
        self.value_head = value_head
        self.prompt_columns = prompt_columns
        self.variables = model.variables + (value_head.variables if value_head else [])
        self.catch_up = backend.jit(self._catch_up, self.variables)
        self.draw = backend.jit(self._draw, self.variables)

    def distribution(self, hidden, allowed):
        """float32[B, V], logits of the distribution that tokens are drawn from."""
        if not hasattr(self.sampler, "distribution"):
            raise NotImplementedError(f"{self.sampler} has no distribution")
        return self.sampler.distribution(allow(self.model.logits(hidden), allowed))

    def _catch_up(self, cache, columns, token_ids, padding_mask):
        count = max(self.prompt_columns - 1, 1)
        return catch_up(self.model, cache, columns, token_ids, padding_mask, count)

    def _draw(self, cache, token_ids, padding_mask, allowed, seed, stream):
        columns = last_true_index(padding_mask) + 1
        uniforms = uniform(seed, stream, columns - self.prompt_columns)
        cache, tokens, log_probs, hidden = next_tokens(
            self.model, self.sampler, cache, token_ids, padding_mask, uniforms, allowed
        )
        info = {"log_probability": log_probs}
        if self.value_head is not None:
            info["value"] = self.value_head(hidden)
        return cache, columns, tokens, info, hidden


def _action_mask(observation):
    """bool[B, V], or None."""
    mask = observation.get("action_mask")
    return None if mask is None else tf.cast(mask, tf.bool)


def _check_sizes(model, total, action_spec):
    most, actions = model.config.max_positions, int(action_spec.maximum) + 1
    if total > most:
        raise ValueError(
            f"A text may have {total} tokens, the model has positions for {most}. Received: "
            f"max_positions={most}"
        )
    if actions != model.config.vocab_size:
        raise ValueError(
            f"The environment has {actions} actions, the model {model.config.vocab_size} tokens. "
            f"Received: vocab_size={model.config.vocab_size}"
        )
