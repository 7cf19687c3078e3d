"""Actor-critic models: a policy alone, with a value head, or with a critic of its own backbone.

All forms answer one question, so that objectives and rollouts need not know which they have: from
which states are a response's log-probs computed, and what are those states worth?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from tfalign.models.conditioned import condition_argument, seen_by
from tfalign.models.heads import ValueHead
from tfalign.models.tasks import CausalLM, Critic
from tfalign.types import Array


@keras.saving.register_keras_serializable("tfalign")
class Actor(keras.Model):
    """A policy without a critic, for algorithms that need none.

    Args:
        policy: CausalLM.
    """

    def __init__(self, policy: CausalLM, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array,
        response_length: int,
        condition: Array | None = None,
    ) -> tuple[Array, None]:
        """As ``SharedActorCritic.call``, with None for the values."""
        given = (token_ids, padding_mask, response_length)
        return before_response(self.policy.backbone, *given, condition=condition), None

    def read(self, outputs: Callable[[keras.Model], Array]) -> tuple[Array, None]:
        """As ``SharedActorCritic.read``, with None for the values."""
        return outputs(self.policy.backbone), None

    def get_config(self) -> dict[str, Any]:
        return _config_with_models(super().get_config(), policy=self.policy)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Actor:
        return cls(**_with_models_restored(config, "policy"))


@keras.saving.register_keras_serializable("tfalign")
class SharedActorCritic(keras.Model):
    """A value head on the policy's own backbone: half the memory and half the work.

    Args:
        policy: CausalLM, which stays usable by itself; the weights are the same.
    """

    def __init__(self, policy: CausalLM, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.value_head = ValueHead(dtype=policy.dtype_policy, name="value_head")
        self.value_head.build((None, None, policy.config.width))
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array,
        response_length: int,
        condition: Array | None = None,
    ) -> tuple[Array, Array]:
        """The states before each response token.

        Args:
            token_ids: int32[B, T], left-padded prompt, then ``response_length`` columns.
            padding_mask: bool[B, T].
            response_length: int, R.
            condition: array of B rows, of a policy that takes one; None for others.

        Returns:
            (hidden float[B, R, W] for ``policy.logits``, values float32[B, R]); the state before
            response token t stands at column T - R - 1 + t.
        """
        given = (token_ids, padding_mask, response_length)
        hidden = before_response(self.policy.backbone, *given, condition=condition)
        return hidden, self.value_head(hidden)

    def read(self, outputs: Callable[[keras.Model], Array]) -> tuple[Array, Array]:
        """What a call returns, of states that are asked for in another way.

        Args:
            outputs: ``model -> array``: calls a backbone or a ``Critic`` and returns its outputs.

        Returns:
            (hidden, values).
        """
        hidden = outputs(self.policy.backbone)
        return hidden, self.value_head(hidden)

    def get_config(self) -> dict[str, Any]:
        return _config_with_models(super().get_config(), policy=self.policy)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SharedActorCritic:
        return cls(**_with_models_restored(config, "policy"))


@keras.saving.register_keras_serializable("tfalign")
class SeparateActorCritic(keras.Model):
    """A policy and a critic with a backbone of its own, which may start from the reward model's.

    Args:
        policy: CausalLM.
        critic: Critic; it sees the policy's condition if it takes one.
    """

    def __init__(self, policy: CausalLM, critic: Critic, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.critic = critic
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array,
        response_length: int,
        condition: Array | None = None,
    ) -> tuple[Array, Array]:
        """As ``SharedActorCritic.call``."""
        given = (token_ids, padding_mask, response_length)
        hidden = before_response(self.policy.backbone, *given, condition=condition)
        seen = seen_by(self.critic, condition)
        return hidden, before_response(self.critic, *given, condition=seen)

    def read(self, outputs: Callable[[keras.Model], Array]) -> tuple[Array, Array]:
        """As ``SharedActorCritic.read``."""
        return outputs(self.policy.backbone), outputs(self.critic)

    def get_config(self) -> dict[str, Any]:
        return _config_with_models(super().get_config(), policy=self.policy, critic=self.critic)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SeparateActorCritic:
        return cls(**_with_models_restored(config, "policy", "critic"))


def before_response(
    model: Callable[..., Any],
    token_ids: Array,
    padding_mask: Array,
    response_length: int,
    training: bool | None = None,
    condition: Array | None = None,
) -> Any:
    """A model's outputs at the states before each response token, computed for no others.

    Args:
        model: a backbone, a language model or a critic: anything with GPT's arguments.
        token_ids: int32[B, T], left-padded prompt, then ``response_length`` columns; the last is
            nobody's state.
        padding_mask: bool[B, T].
        response_length: int, R.
        training: bool, whether dropout is on.
        condition: array of B rows, of a model that takes one; None for others.

    Returns:
        What the model returns, of R columns.
    """
    return model(
        token_ids[:, :-1],
        padding_mask=padding_mask[:, :-1],
        last=response_length,
        training=training,
        **condition_argument(condition),
    )


def separate_critic(policy: CausalLM, initial: keras.Model | None = None) -> Critic:
    """A ``Critic`` of the policy's shape, its backbone's weights copied from ``initial.backbone``
    (the reward model, as in Stiennon et al. 2020) or from the policy's."""
    source = policy.backbone if initial is None else initial.backbone
    takes_condition = getattr(source, "takes_condition", False)
    own = source.from_config(source.get_config()) if takes_condition else source.config
    critic = Critic(own, dtype=policy.dtype_policy)
    copy_weights(source, critic.backbone)
    return critic


def _config_with_models(config, **models):
    serialize = keras.saving.serialize_keras_object
    return config | {name: serialize(model) for name, model in models.items()}


def _with_models_restored(config, *names):
    deserialize = keras.saving.deserialize_keras_object
    return config | {name: deserialize(config[name]) for name in names}


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies weights between models of one shape, however they are sharded."""
    for variable, value in zip(target.weights, source.weights, strict=True):
        variable.assign(ops.copy(value.value))  # a buffer of its own: an update donates the other
