"""What an action costs: the policy's divergence from its reference, token by token."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import ops

from tfalign import backend
from tfalign.decoding.samplers import allow
from tfalign.environments.mdp import State
from tfalign.functional.kl import k1
from tfalign.functional.log_probs import check_temperature, token_log_probs
from tfalign.functional.masking import last_true_index
from tfalign.models.lora import WithoutAdapters
from tfalign.types import Array


class KLPenalty:
    """beta (log pi(a | s) - log pi_ref(a | s)), the per-token KL of Ziegler et al. 2019, eq. 2.

    For a face, whose agent hands over actions and no log-probs; a rollout, which has them, does
    without these two forward passes a step. The reward follows the policy's weights as they move.
    Compiled.

    Args:
        policy: CausalLM, the one that acts.
        reference: CausalLM, frozen.
        coefficient: float or scalar keras.Variable, beta.
        temperature: float > 0, of the sampler, and of both log-probs.
        allowed_tokens: the process's own, see ``TextGenerationMDP``: both log-probs are those of the distributions
            restricted to it. None for all tokens.

    Raises:
        ValueError: if temperature is not positive and finite.
    """

    def __init__(
        self,
        policy: keras.Model,
        reference: keras.Model | WithoutAdapters,
        coefficient: float | keras.Variable,
        temperature: float = 1.0,
        allowed_tokens: Callable[[State], Array] | None = None,
    ) -> None:
        check_temperature(temperature)
        self.policy = policy
        self.reference = reference
        self.coefficient = coefficient
        self.temperature = temperature
        self.allowed_tokens = allowed_tokens
        self.compiled = backend.jit(self._log_ratio, policy.variables + reference.variables)

    def __reduce__(self) -> tuple:
        """What it is made of: another process compiles its own programs."""
        models = self.policy, self.reference
        return type(self), (*models, self.coefficient, self.temperature, self.allowed_tokens)

    def __call__(self, state: State, actions: Array) -> Array:
        """float32[B], of the actions int32[B] in the states."""
        allowed = None if self.allowed_tokens is None else self.allowed_tokens(state)
        texts = state.token_ids, state.padding_mask
        return self.coefficient * self.compiled(*texts, actions, allowed)

    def _log_ratio(self, token_ids, padding_mask, actions, allowed):
        last = last_true_index(padding_mask)[:, None, None]

        def log_probs(model):
            hidden = model.backbone(token_ids, padding_mask=padding_mask, training=False)
            logits = model.logits(ops.take_along_axis(hidden, last, axis=1))[:, 0]
            return token_log_probs(allow(logits, allowed), actions, self.temperature)

        return k1(log_probs(self.policy), log_probs(self.reference))
