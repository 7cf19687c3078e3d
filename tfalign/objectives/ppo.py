"""Proximal policy optimisation for language models."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.log_probs import entropy, token_log_probs
from tfalign.functional.losses import clip_is_active, clipped_policy_loss, clipped_value_loss
from tfalign.functional.masking import masked_sum


@dataclasses.dataclass(frozen=True)
class PPO:
    """Clipped policy and value losses, in mean over response tokens (Schulman et al. 2017, eq. 9;
    the defaults are those of Ziegler et al. 2019 as listed in "The N implementation details of
    RLHF with PPO").

    Dropout stays off: the sampling policy had none.

    Attributes:
        temperature: the sampler's; log-probs are those of softmax(logits / temperature).
        clip: allowed deviation of the probability ratio from 1.
        value_clip: allowed deviation of a value from the one at sampling time.
        value_coefficient: weight of the value loss.
        entropy_coefficient: weight of the entropy bonus.
    """

    temperature: float = 1.0
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1
    entropy_coefficient: float = 0.0

    def __call__(self, model, batch, training=True):
        """Sum over response tokens.

        Args:
            model: SharedActorCritic or SeparateActorCritic.
            batch: Rollout.
            training: not used.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        del training
        mask = batch.response_mask
        length = mask.shape[1]
        hidden, values = model(batch.token_ids, batch.padding_mask, response_length=length)
        logits = model.policy.logits(hidden)
        log_probs = token_log_probs(logits, batch.token_ids[:, -length:], self.temperature)
        token_entropy = entropy(logits, self.temperature)
        policy_loss = clipped_policy_loss(log_probs, batch.log_probs, batch.advantages, self.clip)
        value_loss = clipped_value_loss(values, batch.values, batch.returns, self.value_clip)
        loss = policy_loss + self.value_coefficient * value_loss
        if self.entropy_coefficient:
            loss = loss - self.entropy_coefficient * token_entropy
        weight = ops.sum(ops.cast(mask, "float32"))
        clipped = clip_is_active(log_probs, batch.log_probs, batch.advantages, self.clip)
        log_ratio = log_probs - batch.log_probs
        per_token = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": token_entropy,
            "clip_fraction": ops.cast(clipped, "float32"),
            "approx_kl": 0.5 * ops.square(log_ratio),
            "value_error": ops.square(values - batch.returns),
        }
        metrics = {name: (masked_sum(x, mask), weight) for name, x in per_token.items()}
        largest = ops.max(ops.where(mask, ops.abs(log_ratio), 0.0))
        metrics["max_log_ratio"] = (largest, ops.ones_like(largest))
        return masked_sum(loss, mask), weight, metrics
