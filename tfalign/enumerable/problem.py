"""An alignment problem so small that its responses can be enumerated, with its exact optimum.

There is one prompt and V tokens, the last of which stops; a response has at most R tokens. All responses can be listed, their
probabilities computed, and the optimum of E[sum of gamma^t (r_t - beta log pi / pi_ref)] found by soft Bellman backups,

    V(s) = beta log sum_a pi_ref(a | s) exp((r(s, a) + gamma V(s')) / beta)
    pi*(a | s) = pi_ref(a | s) exp((r(s, a) + gamma V(s') - V(s)) / beta)

(Fox et al. 2016, "Taming the noise in reinforcement learning via soft updates", eq. 15 to 17). Without discounting that is
pi*(y) = pi_ref(y) exp(r(y) / beta) / Z (Korbak et al. 2022, "RL with KL penalties is better viewed as Bayesian inference",
eq. 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from tfalign.decoding.constraints import Constraint, StateConstraint, restricted, states_before
from tfalign.enumerable.tabular import TabularCritic, TabularLM
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.text_state import State, initial, terminal, transition
from tfalign.models.actor_critic import before_response
from tfalign.types import Array, Prompts

PROMPT = 0  # the only prompt is this one token

Rewards = Sequence[float] | Callable[[tuple[int, ...]], float]
Reference = Array | Callable[[tuple[int, ...]], Sequence[float]]


class Problem:
    """An enumerable problem, of one's own or with a random reference and random rewards.

    Prefixes are numbered as a V-ary heap: the empty one is 0, and prefix n continued by token a is
    V n + a + 1.

    >>> problem = Problem(2, 2, rewards=lambda response: float(response == (0, 1)), reference=np.zeros((3, 2)))
    >>> [tuple(tokens[own].tolist()) for tokens, own in zip(problem.responses, problem.mask)]
    [(0, 0), (0, 1), (1,)]
    >>> problem.optimum(beta=1.0).round(3)  # 1/4, e/4 and 1/2 of their sum
    array([0.175, 0.475, 0.35 ])

    Args:
        vocab_size: int, V; the token V - 1 stops.
        horizon: int, R, maximum length of a response.
        seed: int, of the reference's logits and of the rewards, both N(0, 1), where they are not given.
        constraint: Constraint, which tokens may come next; None for all. There are then no other responses, and
            all probabilities are those of the restricted distributions.
        user: who speaks after the policy's turns, see ``functional.text_state.transition``; None for nobody. A
            response is then a conversation of at most R tokens, the user's among them.
        rewards: of whole responses, earned with the last token: float[N] in the order of ``responses``, or a function of a
            response's tokens; None for random ones.
        reference: logits of the next token: float[number of prefixes, V], or a function of a prefix's tokens; None for
            random ones.
        discount: gamma in [0, 1], of each of the policy's tokens after the first.

    Attributes:
        responses: int32[N, R], all of them, 0 after the end.
        mask: bool[N, R], true at the policy's tokens.
        written: bool[N, R], true at the user's too.
        rewards: float32[N].
        ref_logits: float32[number of prefixes, V].

    Raises:
        ValueError: if rewards, reference or discount are not what they must be.
    """

    def __init__(
        self,
        vocab_size: int = 6,
        horizon: int = 4,
        seed: int = 0,
        constraint: Constraint | None = None,
        user: Callable[[State], tuple[Array, Array]] | None = None,
        *,
        rewards: Rewards | None = None,
        reference: Reference | None = None,
        discount: float = 1.0,
    ) -> None:
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be between 0 and 1. Received: discount={discount}")
        self.vocab_size = vocab_size
        self.horizon = horizon
        self.stop_token = vocab_size - 1
        self.constraint = constraint
        self.user = user
        self.discount = discount
        ended = self._all_responses()
        self.mask, self.written = ended.response_mask, np.asarray(ended.written_mask)
        self.responses = ended.token_ids[:, 1:]
        self.num_prefixes = sum(vocab_size**t for t in range(horizon))
        rng = np.random.default_rng(seed)
        drawn = rng.normal(size=(self.num_prefixes, vocab_size))
        self.ref_logits = self._logits(drawn if reference is None else reference)
        drawn = rng.normal(size=len(self.responses))
        self.rewards = self._rewards(drawn if rewards is None else rewards)
        self._num_numbers = sum(vocab_size**t for t in range(horizon + 1))
        self._rewards_of_prefix = np.full(self._num_numbers, np.nan)
        self._rewards_of_prefix[self._heap_numbers(self.responses, self.written)] = self.rewards

    def _logits(self, given):
        if callable(given):
            given = [given(self._prefix(number)) for number in range(self.num_prefixes)]
        shape = (self.num_prefixes, self.vocab_size)
        return _finite("reference", given, shape)

    def _rewards(self, given):
        if callable(given):
            rows = zip(self.responses, self.written)
            given = [given(tuple(tokens[real].tolist())) for tokens, real in rows]
        return _finite("rewards", given, (len(self.responses),))

    def _prefix(self, number):
        """The tokens of a prefix, by its number."""
        tokens = []
        while number:
            number, token = divmod(number - 1, self.vocab_size)
            tokens.append(token)
        return tuple(reversed(tokens))

    def reward(self, token_ids: Array, padding_mask: Array, response_mask: Array) -> np.ndarray:
        """Rewards float32[B] of rollouts, as ``RolloutWorker`` needs them; NaN for an incomplete response."""
        return self.rewards_of(self._rewards_of_prefix, token_ids, padding_mask)

    def table(self, values: Array) -> Callable[[Array, Array, Array], np.ndarray]:
        """Turns one value per response, float[N], into a function of rollouts, such as a cost."""
        of_prefix = np.full(self._num_numbers, np.nan)
        of_prefix[self._heap_numbers(self.responses, self.written)] = values
        return lambda token_ids, mask, _: self.rewards_of(of_prefix, token_ids, mask)

    def rewards_of(
        self, of_prefix: np.ndarray, token_ids: Array, padding_mask: Array
    ) -> np.ndarray:
        """Looks up float32[B], the value of every response of rollouts, by its heap number."""
        response, written = (np.asarray(x)[:, -self.horizon :] for x in (token_ids, padding_mask))
        numbers = self._heap_numbers(response, written)
        return of_prefix[numbers].astype("float32")

    def prompts(self, rows: int) -> Prompts:
        """The one prompt, repeated ``rows`` times, as Prompts."""
        return Prompts(np.full((rows, 1), PROMPT, "int32"), np.ones((rows, 1), "bool"))

    def policy(self) -> TabularLM:
        """A new policy, a TabularLM that equals the reference."""
        return TabularLM(self.ref_logits)

    def reference(self) -> TabularLM:
        """The reference, which does not change."""
        return self.policy()

    def critic(self) -> TabularCritic:
        """A new critic."""
        return TabularCritic(self.num_prefixes, self.vocab_size)

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Prompt and response of all N responses: (token_ids int32[N, 1 + R], padding_mask bool)."""
        prompts = self.prompts(len(self.responses))
        return (
            np.concatenate([prompts.token_ids, self.responses], axis=1),
            np.concatenate([prompts.mask, self.written], axis=1),
        )

    def shown(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(responses int32[N, R], the policy's tokens bool[N, R], all tokens bool[N, R])."""
        return self.responses, self.mask, self.written

    def token_log_probs(self, policy: Any) -> np.ndarray:
        """Log-probs float64[N, R] of all tokens of all responses; 0 where masked."""
        token_ids, padding_mask = self.inputs()
        logits = before_response(policy, token_ids, padding_mask, self.horizon)
        if self.constraint is not None:
            prompts = self.prompts(len(token_ids))
            states = states_before(self.constraint, prompts, self.responses, self.mask)
            logits = restricted(logits, self.constraint, states)
        log_probs = ops.convert_to_numpy(token_log_probs(logits, self.responses))
        return np.where(self.mask, log_probs.astype("float64"), 0.0)

    def probabilities(self, policy: Any) -> np.ndarray:
        """Probabilities float64[N] of all responses; they sum to 1."""
        return np.exp(self.token_log_probs(policy).sum(axis=1))

    def optimum(self, beta: float, rewards: Array | None = None) -> np.ndarray:
        """The optimum pi*, float64[N], for the problem's rewards or other ones, by soft Bellman backups.

        Args:
            beta: strength of the KL penalty, reward units per nat.
            rewards: float[N]; the problem's where None.

        Raises:
            ValueError: if beta is not positive.
        """
        steps, _ = self._backups(beta, rewards)
        return np.exp(steps.sum(axis=1))

    def optimal_value(self, beta: float, rewards: Array | None = None) -> float:
        """What the optimum has of E[sum of gamma^t (r_t - beta log pi / pi_ref)]; arguments as for ``optimum``."""
        return self._backups(beta, rewards)[1]

    def value(self, policy: Any, beta: float, rewards: Array | None = None) -> float:
        """What a policy has of it; at most ``optimal_value``."""
        rewards = self.rewards if rewards is None else np.asarray(rewards)
        log_probs = self.token_log_probs(policy)
        penalties = beta * (log_probs - self.token_log_probs(self.reference()))
        turns = np.cumsum(self.mask, axis=1) - 1
        discounts = np.where(self.mask, self.discount ** np.maximum(turns, 0), 0.0)
        returns = discounts[np.arange(len(turns)), _last(self.mask)] * rewards
        returns = returns - np.sum(discounts * penalties, axis=1)
        return float(np.sum(np.exp(log_probs.sum(axis=1)) * returns))

    def _backups(self, beta, rewards):
        """(log pi* of every token float64[N, R], 0 where masked; V of the start)."""
        if not beta > 0:
            raise ValueError(f"beta must be positive. Received: beta={beta}")
        rewards = self.rewards if rewards is None else np.asarray(rewards)
        reference = self.token_log_probs(self.reference())
        numbers = self._numbers()
        arrived = np.zeros(self._num_numbers)  # what is still earned, once a prefix is written
        arrived[numbers[:, -1]] = rewards
        chosen = np.zeros_like(reference)
        for column in reversed(range(self.horizon)):
            before, after = numbers[:, column], numbers[:, column + 1]
            said = self.written[:, column] & ~self.mask[:, column]
            arrived[before[said]] = arrived[after[said]]
            own = np.flatnonzero(self.mask[:, column])
            advantages = reference[own, column] + arrived[after[own]] / beta
            _, edges = np.unique(after[own], return_index=True)  # responses share their prefixes
            soft = np.full(self._num_numbers, -np.inf)
            np.logaddexp.at(soft, before[own][edges], advantages[edges])
            chosen[own, column] = advantages - soft[before[own]]
            arrived[before[own]] = self.discount * beta * soft[before[own]]
            start = beta * soft[0]
        return chosen, float(start)

    def _numbers(self):
        """int64[N, 1 + R], the number of the prefix before each column, and of the whole response."""
        columns = [np.zeros(len(self.responses), "int64")]
        for tokens, real in zip(self.responses.T, self.written.T):
            longer = self.vocab_size * columns[-1] + tokens + 1
            columns.append(np.where(real, longer, columns[-1]))
        return np.stack(columns, axis=1)

    def _all_responses(self):
        """State of NumPy arrays: every response that can be written, one a row, walked side by side."""
        allowed = self.constraint and StateConstraint(self.constraint)
        state = initial(self.prompts(1), self.horizon)
        while True:
            state = State(*(np.asarray(x) for x in state))
            over = np.asarray(terminal(state))
            if over.all():
                return state
            choices = np.ones((len(over), self.vocab_size), "bool")
            if allowed is not None:
                choices = np.asarray(allowed(state))
            choices = np.where(over[:, None], np.arange(self.vocab_size) == 0, choices)
            rows, tokens = np.nonzero(choices)
            state = State(*(x[rows] for x in state))
            state = transition(state, tokens.astype("int32"), (self.stop_token,), self.user)

    def _heap_numbers(self, responses, mask):
        number = np.zeros(len(responses), "int64")
        for tokens, real in zip(responses.T, mask.T):
            number = np.where(real, self.vocab_size * number + tokens + 1, number)
        return number


def total_variation(p: Array, q: Array) -> float:
    """Total variation distance, half the sum of |p - q|: the largest difference in probability of any event.

    >>> total_variation([0.5, 0.5], [0.75, 0.25])
    0.25
    """
    return 0.5 * float(np.abs(np.asarray(p) - np.asarray(q)).sum())


def _last(mask):
    """int[N], the last column that is true."""
    return mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)


def _finite(name, given, shape):
    values = np.asarray(given, "float32")
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(
            f"{name} must be finite numbers of shape {list(shape)}. Received: {list(values.shape)}"
        )
    return values
