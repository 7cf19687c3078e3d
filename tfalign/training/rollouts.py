"""From prompts to all an on-policy update needs: respond, score, compare with the reference, credit.

Four phases, each one program: the decode loop; the reward; the comparison, which is the reference's
log-probs, and the values where the decode loop did not have them; and the credit's rewards per token
and advantages. In the first three a row depends on itself alone, so several devices share the rows;
the last looks at the whole batch. Log-probs and values that the decode loop knows are not computed
again, and without a need for values there are none.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.decoding import Generator, Sampler
from tfalign.functional.advantages import group_has_spread, soft_overlong_penalty
from tfalign.functional.kl import k1
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.masking import last_true_index, masked_sum, masked_variance
from tfalign.models import Actor, SharedActorCritic
from tfalign.models.actor_critic import before_response
from tfalign.rewards.errors import RewardError
from tfalign.training.credit import GAE, Scored
from tfalign.types import Array, Generation, Prompts, Rollout


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """How responses are sampled, and which of them count.

    Attributes:
        max_new_tokens: R.
        temperature: of the sampler, and of all log-probs.
        stop_tokens: ids that end a response.
        pad_id: what stands after the end.
        group_size: G, completions of every prompt; they stand next to each other, so a batch of
            prompts gives a rollout of G times as many rows.
        missing_stop_score: score of a response that never ended, instead of the reward model's;
            None to keep it.
        missing_stop_penalty: taken off the score of a response that never ended.
        overlong_buffer: tokens before the limit over which a score falls by up to 1 (DAPO, Yu et
            al. 2025, eq. 13); 0 for no such penalty.
        mask_overlong: leave responses that never ended out of the loss.
        redraws: how often at most the groups whose scores are all equal are drawn again, all rows
            at once (the bounded form of DAPO's dynamic sampling).
        drop_zero_spread: leave groups whose scores are all equal out of the loss. They have no
            policy gradient either way; their KL term, and their tokens in a mean, go too.

    Raises:
        ValueError: if group_size is not positive, or one completion a prompt is to be compared.
    """

    max_new_tokens: int
    temperature: float = 1.0
    stop_tokens: tuple[int, ...] = ()
    pad_id: int = 0
    group_size: int = 1
    missing_stop_score: float | None = None
    missing_stop_penalty: float = 0.0
    overlong_buffer: int = 0
    mask_overlong: bool = False
    redraws: int = 0
    drop_zero_spread: bool = False

    def __post_init__(self):
        compares = self.redraws > 0 or self.drop_zero_spread
        if self.group_size < 1 or (compares and self.group_size < 2):
            raise ValueError(
                "group_size must be at least 1, and 2 where groups of equal scores are drawn again "
                f"or dropped. Received: group_size={self.group_size}"
            )


class ScoredResponses(NamedTuple):
    """Responses to prompts, and what the reward says of them."""

    generation: Generation
    token_ids: Array  # int32[B, T], left-padded prompt, then response
    padding_mask: Array  # bool[B, T]
    scores: Array  # float32[B], less the price of the costs
    rewards: Array  # float32[B], the reward's own
    costs: Array | None  # float32[B]; None without a limit on them


class Compared(NamedTuple):
    """What the models say of responses; float32[B, R] each, 0 where masked."""

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
        cost_limit: ``lagrange.CostLimit`` on a second model's cost; None for none.
        sampler: CausalLM that draws the responses, an older copy of the policy; None for the policy
            itself. Log-probs of a rollout are the sampler's, KL and values those of today.

    Raises:
        ValueError: if the credit needs a critic or a group and there is none.
    """

    def __init__(
        self,
        actor_critic,
        reference,
        reward,
        config,
        credit=None,
        baseline=None,
        cost_limit=None,
        sampler=None,
    ):
        self.actor_critic = actor_critic
        self.reference = reference
        self.reward = reward
        self.config = config
        self.credit = GAE() if credit is None else credit
        self.baseline = baseline
        self.cost_limit = cost_limit
        self.sampler = sampler
        self._check_needs()
        needs_values = self.credit.needs_values
        shared = isinstance(actor_critic, SharedActorCritic)
        self.generator = Generator(
            actor_critic.policy if sampler is None else sampler,
            config.max_new_tokens,
            Sampler(temperature=config.temperature),
            config.stop_tokens,
            config.pad_id,
            actor_critic.value_head if needs_values and shared and sampler is None else None,
        )
        touched = [] if sampler is None else actor_critic.variables
        if needs_values and not shared:
            touched = touched + actor_critic.critic.variables
        self.comparison = backend.jit_rows(self._compare, reference.variables + touched)
        self.crediting = backend.jit(self._credit)

    def __call__(self, prompts, seed, kl_coefficient, row_ids=None):
        """Responses to a batch of prompts.

        Args:
            prompts: Prompts.
            seed: int in [0, 2**32).
            kl_coefficient: float, beta.
            row_ids: int32[number of prompts], see ``Generator``; completion g of a prompt draws
                from stream G * row_id + g.

        Returns:
            (Rollout, statistics): statistics maps names to floats, all in mean over responses:
            "score", "kl" (nats, summed over a response's tokens), "response_length" (tokens), "ended"
            (share that drew a stop token), "return"; with a critic "explained_variance"; with groups
            "spread" (share of responses whose group's scores differ); with a sampler "behind" (nats, its
            KL to the policy); with a cost limit "cost", "price" and "reward" (the score before the
            cost was charged).

        Raises:
            RewardError: if a score or a cost is not finite, naming the row.
        """
        prompts, row_ids = self._repeated(prompts, row_ids)
        answers = self._answers(prompts, seed, row_ids)
        baseline = np.zeros(len(prompts.token_ids), "float32")
        if self.baseline is not None:
            baseline = self.baseline(self, prompts)
        rollout, statistics = self.finish(
            answers.token_ids,
            answers.padding_mask,
            answers.generation,
            answers.scores,
            np.float32(kl_coefficient),
            baseline,
        )
        statistics = {name: float(value) for name, value in statistics.items()}
        if self.cost_limit is not None:
            statistics["cost"] = float(np.mean(answers.costs))
            statistics["reward"] = float(np.mean(answers.rewards))
            statistics["price"] = float(self.cost_limit.price)
        return rollout, statistics

    def learn(self, statistics):
        """Lets the baseline and the cost limit take in the statistics of a batch that was used."""
        if self.baseline is not None:
            self.baseline.update(statistics["return"])
        if self.cost_limit is not None:
            self.cost_limit.update(statistics["cost"])

    def refresh_sampler(self):
        """Brings the sampler up to date with the policy."""
        self.sampler.set_weights(self.actor_critic.policy.get_weights())

    @property
    def variables(self):
        """dict of Keras variables a checkpoint must hold besides the learner's, see ``RunState``."""
        return {} if self.sampler is None else {"sampler": self.sampler.variables}

    @property
    def stateful(self):
        """dict of what a checkpoint must hold besides the weights, see ``RunState``."""
        members = {"baseline": self.baseline, "cost_limit": self.cost_limit}
        return {name: member for name, member in members.items() if member is not None}

    def score(self, prompts, generation):
        """What the reward, and the cost limit, say of given responses.

        Args:
            prompts: Prompts of B rows.
            generation: Generation of B rows.

        Returns:
            ScoredResponses.

        Raises:
            RewardError: if a score or a cost is not finite, naming the row.
        """
        answered = *self.join(prompts, generation), generation.mask
        rewards = _checked("score", self.reward(*answered))
        if self.cost_limit is None:
            return ScoredResponses(generation, *answered[:2], rewards, rewards, None)
        costs = _checked("cost", self.cost_limit(*answered))
        scores = np.asarray(rewards - self.cost_limit.price * costs, "float32")
        return ScoredResponses(generation, *answered[:2], scores, rewards, costs)

    @staticmethod
    def join(prompts, generation):
        """Prompt and response side by side: (token_ids int32[B, T], padding_mask bool[B, T])."""
        order = np.argsort(np.asarray(prompts.mask), axis=1, kind="stable")
        left = np.take_along_axis(np.asarray(prompts.token_ids), order, axis=1)
        left_mask = np.take_along_axis(np.asarray(prompts.mask), order, axis=1)
        token_ids = np.concatenate([left, np.asarray(generation.tokens)], axis=1)
        padding_mask = np.concatenate([left_mask, np.asarray(generation.mask)], axis=1)
        return token_ids.astype("int32"), padding_mask.astype("bool")

    def _check_needs(self):
        name = type(self.credit).__name__
        if self.credit.needs_values and isinstance(self.actor_critic, Actor):
            raise ValueError(f"{name} needs a critic. Received: actor_critic of type Actor")
        if self.credit.needs_group and self.config.group_size < 2:
            raise ValueError(
                f"{name} compares completions of one prompt, of which there must be at least 2. "
                f"Received: group_size={self.config.group_size}"
            )

    def _repeated(self, prompts, row_ids):
        """Every prompt, and its stream of random numbers, once for each of its completions."""
        size = self.config.group_size
        if size == 1:
            return prompts, row_ids
        row_ids = np.arange(len(prompts.token_ids)) if row_ids is None else np.asarray(row_ids)
        prompts = Prompts(*(np.repeat(np.asarray(field), size, axis=0) for field in prompts))
        return prompts, (size * row_ids[:, None] + np.arange(size)).ravel()

    def _answers(self, prompts, seed, row_ids):
        """ScoredResponses; groups without spread are drawn again while ``redraws`` lasts."""
        answers = self._answer(prompts, seed, row_ids)
        for attempt in range(1, self.config.redraws + 1):
            stale = ~np.asarray(self._spread(answers.scores))
            if not stale.any():
                break
            fresh_seed = np.random.SeedSequence([int(seed), attempt]).generate_state(1)[0]
            fresh = self._answer(prompts, fresh_seed, row_ids)
            answers = _replaced(answers, fresh, stale)
        return answers

    def _answer(self, prompts, seed, row_ids):
        generation = self.generator(prompts.token_ids, prompts.mask, seed, row_ids)
        return self.score(prompts, generation)

    def finish(self, token_ids, padding_mask, generation, scores, kl_coefficient, baseline):
        """From scored responses to a rollout.

        Args:
            token_ids: int32[B, T], see ``join``.
            padding_mask: bool[B, T].
            generation: Generation.
            scores: float32[B].
            kl_coefficient: float32[].
            baseline: float32[B], see ``Scored``.

        Returns:
            (Rollout, dict of float32 scalars).
        """
        given = (token_ids, padding_mask, generation)
        compared = self.comparison(*given)
        return self.crediting(*given, compared, scores, kl_coefficient, baseline)

    def _compare(self, token_ids, padding_mask, generation):
        """Compared, of the reference's log-probs, and the policy's and the critic's of today."""
        ref_log_probs = self._reference_log_probs(token_ids, padding_mask)
        log_probs, values = self._today(token_ids, padding_mask, generation)
        return Compared(ops.where(generation.mask, ref_log_probs, 0.0), log_probs, values)

    def _credit(
        self, token_ids, padding_mask, generation, compared, scores, kl_coefficient, baseline
    ):
        mask = generation.mask
        ref_log_probs, log_probs, values = compared
        kl = ops.where(mask, k1(log_probs, ref_log_probs), 0.0)
        ended = self._ended(generation)
        spread = self._spread(scores)
        counted = mask & self._counts(ended, spread)[:, None]
        scores = self._without_stop(scores, ended) + self._overlong_penalty(mask)
        credited = self.credit(
            Scored(scores, kl, mask, values, baseline, self.config.group_size), kl_coefficient
        )
        statistics = {
            "score": ops.mean(scores),
            "kl": ops.mean(ops.sum(kl, axis=1)),
            "response_length": ops.mean(ops.sum(ops.cast(mask, "float32"), axis=1)),
            "ended": ops.mean(ops.cast(ended, "float32")),
            "return": ops.mean(masked_sum(credited.rewards, mask, axis=1)),
        }
        if self.sampler is not None:
            behind = masked_sum(k1(generation.log_probs, log_probs), mask, axis=1)
            statistics["behind"] = ops.mean(behind)
        if values is not None:
            statistics["explained_variance"] = _explained_variance(values, credited.returns, mask)
        if self.config.group_size > 1:
            statistics["spread"] = ops.mean(ops.cast(spread, "float32"))
        rollout = Rollout(
            token_ids=token_ids,
            padding_mask=padding_mask,
            response_mask=counted,
            log_probs=generation.log_probs,
            ref_log_probs=ref_log_probs,
            values=ops.zeros_like(kl) if values is None else values,
            rewards=credited.rewards,
            advantages=credited.advantages,
            returns=credited.returns,
            scores=scores,
        )
        return rollout, statistics

    def _reference_log_probs(self, token_ids, padding_mask):
        length = self.config.max_new_tokens
        trunk = self.reference.backbone
        hidden = before_response(trunk, token_ids, padding_mask, length, training=False)
        return self._log_probs(self.reference, hidden, token_ids)

    def _log_probs(self, model, hidden, token_ids):
        response = token_ids[:, -self.config.max_new_tokens :]
        return token_log_probs(model.logits(hidden), response, self.config.temperature)

    def _today(self, token_ids, padding_mask, generation):
        """(log-probs of the policy float32[B, R], values float32[B, R] or None), as they are now; what
        the decode loop said is not computed again."""
        log_probs, values = generation.log_probs, generation.values
        if self.sampler is not None:
            hidden, values = self.actor_critic(
                token_ids, padding_mask, response_length=self.config.max_new_tokens
            )
            log_probs = self._log_probs(self.actor_critic.policy, hidden, token_ids)
        elif self.credit.needs_values and values is None:
            given = (token_ids, padding_mask, self.config.max_new_tokens)
            values = before_response(self.actor_critic.critic, *given, training=False)
        if not self.credit.needs_values:
            return log_probs, None
        return log_probs, ops.where(generation.mask, values, 0.0)

    def _spread(self, scores):
        """bool[B], whether the scores of a response's group differ; all true without groups."""
        if self.config.group_size == 1:
            return ops.ones_like(scores, "bool")
        return group_has_spread(scores, self.config.group_size)

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


def _checked(what, scores):
    """float32[B] of finite numbers."""
    scores = np.asarray(scores, "float32")
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise RewardError(f"The {what} of row {row} is not finite. Received: {scores[row]}")
    return scores


def _replaced(answers, others, rows):
    """ScoredResponses with those of other answers in the chosen rows, bool[B]."""

    def choose(kept, new):
        if kept is None:
            return None
        kept = np.asarray(kept)
        return np.where(rows.reshape(-1, *[1] * (kept.ndim - 1)), np.asarray(new), kept)

    generation = Generation(*map(choose, answers.generation, others.generation))
    return ScoredResponses(generation, *map(choose, answers[1:], others[1:]))


def _explained_variance(values, returns, mask):
    """1 - var(returns - values) / var(returns): 1 for a perfect critic, 0 for a constant one."""
    residual = masked_variance(returns - values, mask)
    return 1.0 - residual / ops.maximum(masked_variance(returns, mask), 1e-8)
