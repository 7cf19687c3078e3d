"""From prompts to all an on-policy update needs: respond, score, compare with the reference.

Three phases, each one program: the decode loop; the reward; and the rest, which is the reference's
log-probs, the values where the decode loop did not have them, rewards per token and advantages.
Log-probs and values that the decode loop knows are not computed again.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.decoding import Generator, Sampler
from tfalign.functional.advantages import generalized_advantages, place_rewards
from tfalign.functional.kl import k1
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.masking import masked_sum, masked_variance, masked_whiten
from tfalign.models import SharedActorCritic
from tfalign.models.actor_critic import before_response
from tfalign.types import Rollout


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """How responses are sampled and credited; the defaults are those of Ziegler et al. 2019.

    Attributes:
        max_new_tokens: R.
        temperature: of the sampler, and of all log-probs.
        stop_tokens: ids that end a response.
        pad_id: what stands after the end.
        gamma: discount.
        gae_lambda: of generalised advantage estimation.
        whiten_rewards: scale the per-token rewards to variance 1, keeping their mean.
        whiten_advantages: shift and scale the advantages over the real tokens of the batch.
        missing_stop_score: score of a response that never ended, instead of the reward model's;
            None to keep it.
        missing_stop_penalty: taken off the score of a response that never ended.
    """

    max_new_tokens: int
    temperature: float = 1.0
    stop_tokens: tuple[int, ...] = ()
    pad_id: int = 0
    gamma: float = 1.0
    gae_lambda: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    missing_stop_score: float | None = None
    missing_stop_penalty: float = 0.0


class RolloutWorker:
    """Samples rollouts from a policy.

    Args:
        actor_critic: SharedActorCritic or SeparateActorCritic.
        reference: CausalLM, frozen.
        reward: ``(token_ids, padding_mask, response_mask) -> float32[B]``, see ``rewards``.
        config: RolloutConfig.
    """

    def __init__(self, actor_critic, reference, reward, config):
        self.actor_critic = actor_critic
        self.reference = reference
        self.reward = reward
        self.config = config
        self._shared = isinstance(actor_critic, SharedActorCritic)
        self.generator = Generator(
            actor_critic.policy,
            config.max_new_tokens,
            Sampler(temperature=config.temperature),
            config.stop_tokens,
            config.pad_id,
            actor_critic.value_head if self._shared else None,
        )
        critic = [] if self._shared else actor_critic.critic.variables
        self.compiled = backend.jit(self._credit, reference.variables + critic)

    def __call__(self, prompts, seed, kl_coefficient, row_ids=None):
        """Responses to a batch of prompts.

        Args:
            prompts: Prompts.
            seed: int in [0, 2**32).
            kl_coefficient: float, beta.
            row_ids: int32[B], see ``Generator``.

        Returns:
            (Rollout, statistics): statistics maps names to floats, all in mean over responses:
            "score", "kl" (nats, summed over a response's tokens), "response_length" (tokens), "ended"
            (share that drew a stop token), "return", "explained_variance".

        Raises:
            ValueError: if a score is not finite, naming the row.
        """
        generation = self.generator(prompts.token_ids, prompts.mask, seed, row_ids)
        token_ids, padding_mask = self.join(prompts, generation)
        scores = self.reward(token_ids, padding_mask, generation.mask)
        self._check(scores)
        rollout, statistics = self.compiled(
            token_ids, padding_mask, generation, scores, np.float32(kl_coefficient)
        )
        return rollout, {name: float(value) for name, value in statistics.items()}

    @staticmethod
    def join(prompts, generation):
        """Prompt and response side by side: (token_ids int32[B, T], padding_mask bool[B, T])."""
        order = np.argsort(np.asarray(prompts.mask), axis=1, kind="stable")
        left = np.take_along_axis(np.asarray(prompts.token_ids), order, axis=1)
        left_mask = np.take_along_axis(np.asarray(prompts.mask), order, axis=1)
        token_ids = np.concatenate([left, np.asarray(generation.tokens)], axis=1)
        padding_mask = np.concatenate([left_mask, np.asarray(generation.mask)], axis=1)
        return token_ids.astype("int32"), padding_mask.astype("bool")

    def _credit(self, token_ids, padding_mask, generation, scores, kl_coefficient):
        config, mask = self.config, generation.mask
        ref_log_probs = ops.where(mask, self._reference_log_probs(token_ids, padding_mask), 0.0)
        values = generation.values if self._shared else self._values(token_ids, padding_mask)
        values = ops.where(mask, values, 0.0)
        kl = ops.where(mask, k1(generation.log_probs, ref_log_probs), 0.0)
        ended = self._ended(generation)
        scores = self._without_stop(scores, ended)
        rewards = place_rewards(scores, kl, mask, kl_coefficient)
        if config.whiten_rewards:
            rewards = masked_whiten(rewards, mask, shift_mean=False)
        advantages, returns = generalized_advantages(
            rewards, values, mask, config.gamma, config.gae_lambda
        )
        statistics = {
            "score": ops.mean(scores),
            "kl": ops.mean(ops.sum(kl, axis=1)),
            "response_length": ops.mean(ops.sum(ops.cast(mask, "float32"), axis=1)),
            "ended": ops.mean(ops.cast(ended, "float32")),
            "return": ops.mean(masked_sum(rewards, mask, axis=1)),
            "explained_variance": _explained_variance(values, returns, mask),
        }
        if config.whiten_advantages:
            advantages = masked_whiten(advantages, mask)
        rollout = Rollout(
            token_ids=token_ids,
            padding_mask=padding_mask,
            response_mask=mask,
            log_probs=generation.log_probs,
            ref_log_probs=ref_log_probs,
            values=values,
            rewards=rewards,
            advantages=advantages,
            returns=returns,
            scores=scores,
        )
        return rollout, statistics

    def _reference_log_probs(self, token_ids, padding_mask):
        length = self.config.max_new_tokens
        hidden = self.reference.backbone(token_ids, padding_mask=padding_mask, training=False)
        logits = self.reference.logits(before_response(hidden, length))
        return token_log_probs(logits, token_ids[:, -length:], self.config.temperature)

    def _values(self, token_ids, padding_mask):
        values = self.actor_critic.critic(token_ids, padding_mask=padding_mask, training=False)
        return before_response(values, self.config.max_new_tokens)

    def _ended(self, generation):
        """bool[B], whether a stop token was drawn."""
        ended = ops.zeros((generation.tokens.shape[0],), "bool")
        for stop_token in self.config.stop_tokens:
            drawn = (generation.tokens == stop_token) & generation.mask
            ended = ended | ops.any(drawn, axis=1)
        return ended

    def _without_stop(self, scores, ended):
        config = self.config
        scores = ops.where(ended, scores, scores - config.missing_stop_penalty)
        if config.missing_stop_score is None:
            return scores
        return ops.where(ended, scores, config.missing_stop_score)

    @staticmethod
    def _check(scores):
        scores = np.asarray(scores)
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores)))
            raise ValueError(f"The score of row {row} is not finite. Received: {scores[row]}")


def _explained_variance(values, returns, mask):
    """1 - var(returns - values) / var(returns): 1 for a perfect critic, 0 for a constant one."""
    residual = masked_variance(returns - values, mask)
    return 1.0 - residual / ops.maximum(masked_variance(returns, mask), 1e-8)
