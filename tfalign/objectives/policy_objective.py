"""What the on-policy objectives share: one forward pass, entropy, a KL term, aggregation, metrics.

An algorithm's own file says what it makes of a token's log-prob, and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keras import ops

from tfalign.decoding.constraints import Constraint, restriction
from tfalign.functional.aggregation import token_mean
from tfalign.functional.kl import k3
from tfalign.functional.masking import masked_sum
from tfalign.models import Actor, SeparateActorCritic, SharedActorCritic
from tfalign.models.read_out import read_out_with_entropies
from tfalign.models.response_states import response_states
from tfalign.types import Array, Metrics, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyObjective:
    """Base of the on-policy objectives: a loss per response token; subclasses define ``terms``.

    Dropout stays off: the sampling policy had none.

    Attributes:
        temperature: the sampler's; log-probs are those of softmax(logits / temperature).
        entropy_coefficient: weight of the entropy bonus.
        kl_coefficient: weight of the KL penalty in the loss, where it is not in the reward.
        kl_estimator: of ``functional.kl``. In the mean k2's gradient is that of KL(pi || pi_ref) in
            each state, k3's that of KL(pi_ref || pi), and k1's is 0.
        aggregate: of ``functional.aggregation``, from tokens to the loss of the batch.
        chunk: see ``models.read_out.read_out``.
        constraint: the sampler's, see ``decoding.constraints``; log-probs and entropies are those of the
            distribution under it. None for none.
    """

    temperature: float = 1.0
    entropy_coefficient: float = 0.0
    kl_coefficient: float = 0.0
    kl_estimator: Callable = k3
    aggregate: Callable = token_mean
    chunk: int | None = None
    constraint: Constraint | None = None

    def terms(
        self, log_probs: Array, values: Array | None, batch: Rollout
    ) -> tuple[Array, dict[str, Array]]:
        """The algorithm's per-token loss and metrics.

        Args:
            log_probs: float32[B, R], current policy, nats.
            values: float32[B, R], current critic; None without one.
            batch: Rollout.

        Returns:
            (loss float32[B, R], metrics): metrics maps names to float32[B, R].
        """
        raise NotImplementedError

    def __call__(
        self,
        model: Actor | SharedActorCritic | SeparateActorCritic,
        batch: Rollout,
        training: bool = True,
    ) -> tuple[Array, Array, Metrics]:
        """Sum over the batch, and what to divide it by.

        Args:
            model: Actor, SharedActorCritic or SeparateActorCritic.
            batch: Rollout.
            training: not used.

        Returns:
            (loss_sum float32[], weight float32[], metrics): metrics are in mean over tokens,
            whatever the aggregation.
        """
        del training
        mask = batch.response_mask
        log_probs, token_entropy, values = self._forward(model, batch)
        loss, per_token = self.terms(log_probs, values, batch)
        log_ratio = log_probs - batch.log_probs
        per_token |= {"entropy": token_entropy, "approx_kl": 0.5 * ops.square(log_ratio)}
        if self.entropy_coefficient:
            loss = loss - self.entropy_coefficient * token_entropy
        if self.kl_coefficient:
            kl = self.kl_estimator(log_probs, batch.ref_log_probs)
            loss = loss + self.kl_coefficient * kl
            per_token["kl_loss"] = kl
        tokens = ops.sum(ops.cast(mask, "float32"))
        metrics = {name: (masked_sum(x, mask), tokens) for name, x in per_token.items()}
        largest = ops.max(ops.where(mask, ops.abs(log_ratio), 0.0))
        metrics["max_log_ratio"] = (largest, ops.ones_like(largest))
        return *self.aggregate(loss, mask), metrics

    def _forward(self, model, batch):
        """(log-probs, entropies, values or None), float32[B, R] each."""
        length = batch.response_mask.shape[1]
        states = response_states(batch.token_ids, batch.padding_mask, length, batch.packed)
        hidden, values = states.actor_critic(model, batch.condition)
        given = batch.token_ids[:, -length:], batch.constraint_states
        tokens, constraint_states = map(states.gather, given)
        asked = tokens, self.temperature, self.chunk, restriction(self.constraint)
        read = read_out_with_entropies(model.policy, hidden, *asked, constraint_states)
        return tuple(map(states.spread, (*read, values)))
