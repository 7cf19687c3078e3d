"""From prompts to all an on-policy update needs: respond, score, compare with the reference, credit.

Four phases, each one program: the decode loop; the reward; the comparison, which is the reference's
log-probs, and the values where the decode loop did not have them; and the credit's rewards per token
and advantages. In the first three a row depends on itself alone, so several devices share the rows;
the last looks at the whole batch. Log-probs and values that the decode loop knows are not computed
again, and without a need for values there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tfalign import backend
from tfalign.data.response_packing import packed_rows
from tfalign.decoding.constraints import restriction
from tfalign.functional.advantages import soft_overlong_penalty
from tfalign.functional.kl import k1
from tfalign.functional.magnitude import safe_scale
from tfalign.functional.masking import last_true_index, masked_sum, masked_variance
from tfalign.models import Actor, SharedActorCritic
from tfalign.models.conditioned import seen_by
from tfalign.models.lora import WithoutAdapters
from tfalign.models.read_out import read_out
from tfalign.models.response_states import response_states
from tfalign.training.credit import GAE, Credit, Scored
from tfalign.training.lagrange import CostLimits
from tfalign.training.packing import check_packs
from tfalign.training.responses import (
    Responder,
    RolloutConfig,
    ScoredResponses,
    has_spread,
    repeated,
)
from tfalign.types import Array, Generation, Prompts, Rollout


class Compared(NamedTuple):
    """Log-probs and values of responses; float32[B, R] each, 0 where masked."""

    ref_log_probs: Array  # the reference's, nats
    log_probs: Array  # the policy's, as it is now
    values: Array | None  # the critic's, as it is now; None where the credit does not ask for them


class RolloutWorker:
    """Samples rollouts from a policy.

    Args:
        actor_critic: Actor, SharedActorCritic or SeparateActorCritic.
        reference: CausalLM, frozen.
        reward: ``(token_ids, padding_mask, response_mask) -> float32[B]``, see ``rewards``.
        config: RolloutConfig.
        credit: see ``training.credit``; ``GAE()`` where None.
        baseline: see ``training.baselines``; None for 0.
        cost_limits: ``lagrange.CostLimits``; None for none.
        older: who responds instead of the policy, with older copies of it: an ``OlderResponder``, or
            another ``(prompts, seed, row_ids) -> ScoredResponses`` with its ``corrected`` and
            ``variables``; None for the policy itself.

    Raises:
        ValueError: if the credit needs a critic or a group and there is none, or rows cannot be packed that are to.
    """

    def __init__(
        self,
        actor_critic: keras.Model,
        reference: keras.Model | WithoutAdapters,
        reward: Callable[..., Array],
        config: RolloutConfig,
        credit: Credit | None = None,
        baseline: Callable[..., Array] | None = None,
        cost_limits: CostLimits | None = None,
        older: Callable[..., ScoredResponses] | None = None,
    ) -> None:
        self.actor_critic = actor_critic
        self.reference = reference
        self.config = config
        self.credit = GAE() if credit is None else credit
        self.baseline = baseline
        self.older = older
        self._check_needs()
        needs_values = self.credit.needs_values
        shared = isinstance(actor_critic, SharedActorCritic)
        self.responder = Responder(
            actor_critic.policy,
            reward,
            config,
            actor_critic.value_head if needs_values and shared and older is None else None,
            cost_limits,
        )
        touched = [] if older is None else actor_critic.variables
        if needs_values and not shared:
            touched = touched + actor_critic.critic.variables
        self.comparison = backend.jit_rows(self._compare, reference.variables + touched)
        self._parts = backend.replicas()
        self.crediting = backend.jit(self._credit)

    def __call__(
        self, prompts: Prompts, seed: int, kl_coefficient: float, row_ids: Array | None = None
    ) -> tuple[Rollout, dict[str, float]]:
        """Responses to a batch of prompts.

        Args:
            prompts: Prompts.
            seed: int in [0, 2**32).
            kl_coefficient: float, beta.
            row_ids: int32[number of prompts], see ``Responder``.

        Returns:
            (Rollout, statistics): statistics maps names to floats, all in mean over responses:
            "score", "kl" (nats, summed over a response's tokens), "response_length" (tokens), "ended"
            (share that ended with a stop token), "return"; with a critic "explained_variance"; with groups
            "spread" (fraction of responses whose group's scores differ); of an older policy "behind" (nats, its
            KL to the policy); with limits on costs "cost_NAME" and "price_NAME" of each, and "reward" (the
            score before the costs were charged); what the user counts, see ``ToolUser.statistics``.

        Raises:
            RewardError: if a score or a cost is not finite, naming the row.
        """
        respond = self.responder if self.older is None else self.older
        answers = respond(prompts, seed, row_ids)
        counted = getattr(self.config.user, "statistics", dict)()
        baseline = np.zeros(len(answers.scores), "float32")
        if self.baseline is not None:
            baseline = self.baseline(self, repeated(prompts, None, self.config.group_size)[0])
        rollout, statistics = self.finish(
            answers.token_ids,
            answers.padding_mask,
            answers.generation,
            answers.scores,
            np.float32(kl_coefficient),
            baseline,
            answers.earned,
            answers.condition,
        )
        statistics = {name: float(value) for name, value in statistics.items()}
        statistics |= counted
        if self.cost_limits is not None:
            statistics["reward"] = float(np.mean(answers.rewards))
            means = np.mean(answers.costs, axis=0)
            for name, cost, price in zip(self.cost_limits.names, means, self.cost_limits.prices):
                statistics[f"cost_{name}"], statistics[f"price_{name}"] = float(cost), float(price)
        return rollout, statistics

    def learn(self, statistics: Mapping[str, float]) -> None:
        """Updates the baseline and the cost limits with the statistics of a batch that was used."""
        if self.baseline is not None:
            self.baseline.update(statistics["return"])
        if self.cost_limits is not None:
            self.cost_limits.update(
                {name: statistics[f"cost_{name}"] for name in self.cost_limits.names}
            )

    @property
    def cost_limits(self) -> CostLimits | None:
        """``lagrange.CostLimits``, or None."""
        return self.responder.cost_limits

    @property
    def variables(self) -> dict[str, Sequence[keras.Variable]]:
        """dict of Keras variables a checkpoint must hold besides the learner's, see ``RunState``."""
        return {} if self.older is None else self.older.variables

    @property
    def stateful(self) -> dict[str, Any]:
        """dict of what a checkpoint must hold besides the weights, see ``RunState``."""
        members = {"baseline": self.baseline, "cost_limits": self.cost_limits}
        return {name: member for name, member in members.items() if member is not None}

    @property
    def _is_uncorrected(self):
        return self.older is not None and not self.older.corrected

    def _check_needs(self):
        name = type(self.credit).__name__
        if self.credit.needs_values and isinstance(self.actor_critic, Actor):
            raise ValueError(f"{name} needs a critic. Received: actor_critic of type Actor")
        if self.credit.needs_group and self.config.group_size < 2:
            raise ValueError(
                f"{name} compares completions of one prompt, of which there must be at least 2. "
                f"Received: group_size={self.config.group_size}"
            )
        if self.config.packed:
            critic = getattr(self.actor_critic, "critic", None)
            check_packs(*filter(None, (self.actor_critic.policy, critic, self.reference)))

    def finish(
        self,
        token_ids: Array,
        padding_mask: Array,
        generation: Generation,
        scores: Array,
        kl_coefficient: Array | float,
        baseline: Array,
        earned: Array | None = None,
        condition: Array | None = None,
    ) -> tuple[Rollout, dict[str, Array]]:
        """From scored responses to a rollout.

        Args:
            token_ids: int32[B, T], see ``join``.
            padding_mask: bool[B, T].
            generation: Generation.
            scores: float32[B].
            kl_coefficient: float32[].
            baseline, earned: float32[B] and float32[B, R] or None, see ``Scored``.
            condition: array of B rows, as the prompts'; None for nothing.

        Returns:
            (Rollout, dict of float32 scalars).
        """
        given = (token_ids, padding_mask, generation)
        compared = self.compare(*given, condition)
        credited = compared, scores, kl_coefficient, baseline, earned, condition
        return self.crediting(*given, *credited)

    def compare(
        self,
        token_ids: Array,
        padding_mask: Array,
        generation: Generation,
        condition: Array | None = None,
    ) -> Compared:
        """Compares responses with the reference.

        Args:
            token_ids: int32[B, T], see ``join``.
            padding_mask: bool[B, T].
            generation: Generation.
            condition: see ``finish``.

        Returns:
            Compared.
        """
        packed = None
        if self.config.packed:
            packed = packed_rows(token_ids, padding_mask, generation.mask, self._parts)
        return self.comparison(token_ids, padding_mask, generation, condition, packed)

    def shaped(self, scores: Array, generation: Generation) -> tuple[Array, Array]:
        """Scores with what the config takes off responses without a stop token, or near the maximum length.

        Args:
            scores: float32[B], of the reward.
            generation: Generation of B rows.

        Returns:
            (float32[B], bool[B] whether each response ended with a stop token).
        """
        ended = self._ended(generation)
        penalty = self._overlong_penalty(generation.mask)
        return self._without_stop(scores, ended) + penalty, ended

    def _compare(self, token_ids, padding_mask, generation, condition=None, packed=None):
        """Compared, of the reference's log-probs, and the current policy's and critic's."""
        length = self.config.max_new_tokens
        states = response_states(token_ids, padding_mask, length, packed)
        given = states, token_ids[:, -length:], generation.constraint_states
        ref_log_probs = self._reference_log_probs(condition, *given)
        log_probs, values = self._today(generation, condition, *given)
        return Compared(ops.where(generation.mask, ref_log_probs, 0.0), log_probs, values)

    def _credit(
        self,
        token_ids,
        padding_mask,
        generation,
        compared,
        scores,
        kl_coefficient,
        baseline,
        earned=None,
        condition=None,
    ):
        mask = generation.mask
        ref_log_probs, log_probs, values = compared
        kl = ops.where(mask, k1(log_probs, ref_log_probs), 0.0)
        spread = has_spread(scores, self.config.group_size)
        scores, ended = self.shaped(scores, generation)
        counted = mask & self._counts(ended, spread)[:, None]
        group_size = self.config.group_size
        scored = Scored(scores, kl, mask, values, baseline, group_size, earned)
        credited = self.credit(scored, kl_coefficient)
        statistics = {
            "score": ops.mean(scores),
            "kl": ops.mean(ops.sum(kl, axis=1)),
            "response_length": ops.mean(ops.sum(ops.cast(mask, "float32"), axis=1)),
            "ended": ops.mean(ops.cast(ended, "float32")),
            "return": ops.mean(masked_sum(credited.rewards, mask, axis=1)),
        }
        if self.older is not None:
            behind = k1(generation.log_probs, log_probs)
            statistics["behind"] = ops.mean(masked_sum(behind, mask, axis=1))
        if values is not None:
            statistics["explained_variance"] = _explained_variance(values, credited.returns, mask)
        if self.config.group_size > 1:
            statistics["spread"] = ops.mean(ops.cast(spread, "float32"))
        rollout = Rollout(
            token_ids,
            padding_mask,
            counted,
            log_probs if self._is_uncorrected else generation.log_probs,
            ref_log_probs,
            ops.zeros_like(kl) if values is None else values,
            *credited,
            scores=scores,
            constraint_states=generation.constraint_states,
            condition=condition,
        )
        return rollout, statistics

    def _reference_log_probs(self, condition, states, *tokens_and_constraint):
        seen = seen_by(self.reference, condition)
        hidden = states.outputs(self.reference.backbone, training=False, condition=seen)
        return self._log_probs(self.reference, hidden, states, *tokens_and_constraint)

    def _log_probs(self, model, hidden, states, tokens, constraint_states):
        """float32[B, R], of a model's hidden states, tokens int32[B, R] and the constraint's states."""
        following = states.gather(constraint_states)
        restrict = restriction(self.config.constraint)
        asked = states.gather(tokens), self.config.temperature, None, restrict
        log_probs = read_out(model, hidden, *asked, following)
        return states.spread(log_probs)

    def _today(self, generation, condition, states, *tokens_and_constraint):
        """(log-probs of the policy float32[B, R], values float32[B, R] or None), as they are now; what
        the decode loop said is not computed again."""
        log_probs, values = generation.log_probs, generation.values
        if self.older is not None:
            hidden, values = states.actor_critic(self.actor_critic, condition)
            policy, values = self.actor_critic.policy, states.spread(values)
            log_probs = self._log_probs(policy, hidden, states, *tokens_and_constraint)
        elif self.credit.needs_values and values is None:
            critic = self.actor_critic.critic
            seen = seen_by(critic, condition)
            values = states.spread(states.outputs(critic, training=False, condition=seen))
        if not self.credit.needs_values:
            return log_probs, None
        return log_probs, ops.where(generation.mask, values, 0.0)

    def _counts(self, ended, spread):
        """bool[B], whether a response has a part in the loss."""
        counts = ops.ones_like(ended)
        if self.config.mask_overlong:
            counts = counts & ended
        if self.config.drop_zero_spread:
            counts = counts & spread
        return counts

    def _ended(self, generation):
        """bool[B], whether the policy's last token is a stop token."""
        last = ops.maximum(last_true_index(generation.mask), 0)
        tokens = ops.take_along_axis(generation.tokens, last[:, None], axis=1)[:, 0]
        ended = ops.zeros_like(tokens, "bool")
        for stop_token in self.config.stop_tokens:
            ended = ended | (tokens == stop_token)
        return ended

    def _without_stop(self, scores, ended):
        config = self.config
        scores = ops.where(ended, scores, scores - config.missing_stop_penalty)
        if config.missing_stop_score is None:
            return scores
        return ops.where(ended, scores, config.missing_stop_score)

    def _overlong_penalty(self, mask):
        if not self.config.overlong_buffer:
            return 0.0
        lengths = ops.sum(ops.cast(mask, "float32"), axis=1)
        return soft_overlong_penalty(
            lengths, self.config.max_new_tokens, self.config.overlong_buffer
        )


def _explained_variance(values, returns, mask):
    """1 - var(returns - values) / var(returns): 1 for a perfect critic, 0 for a constant one."""
    # variances of large numbers are no float32
    scale = safe_scale(ops.stack([returns, values]))[0, 0, 0]
    returns, values = ops.where(mask, returns, 0.0) * scale, ops.where(mask, values, 0.0) * scale
    residual = masked_variance(returns - values, mask)
    least = ops.maximum(1e-8 * scale * scale, 1e-37)
    return 1.0 - residual / ops.maximum(masked_variance(returns, mask), least)
