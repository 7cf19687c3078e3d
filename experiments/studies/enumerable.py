"""An alignment problem so small that its responses can be enumerated, with its exact optimum.

There is one prompt and V tokens, the last of which stops; a response has at most R tokens. All responses can
be listed, their probabilities computed, and the optimum of E[reward] - beta KL(pi || pi_ref) is

    pi*(y) = pi_ref(y) exp(r(y) / beta) / Z

(Korbak et al. 2022, "RL with KL penalties is better viewed as Bayesian inference", eq. 5). The
policies are tables of logits, one row per prefix, with the interface of a CausalLM: the library's own
decode loop, rollouts and Learner train them, and no network limits what an algorithm can reach.
"""

from __future__ import annotations

import types

import keras
import numpy as np
from keras import ops

from tfalign.decoding.constraints import Automaton, StateConstraint, restricted, states_before
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.text_state import State, initial, terminal, transition
from tfalign.models.actor_critic import before_response
from tfalign.types import Prompts

PROMPT = 0  # the only prompt is this one token


class Problem:
    """An enumerable problem with a random reference and random rewards.

    Prefixes are numbered as a V-ary heap: the empty one is 0, and prefix n continued by token a is
    V n + a + 1.

    Args:
        vocab_size: int, V; the token V - 1 stops.
        horizon: int, R, maximum length of a response.
        seed: int, of the reference's logits and of the rewards, both N(0, 1).
        constraint: Constraint, which tokens may come next; None for all. There are then no other responses, and
            all probabilities are those of the restricted distributions.
        user: who speaks after the policy's turns, see ``functional.text_state.transition``; None for nobody. A
            response is then a conversation of at most R tokens, the user's among them.

    Attributes:
        responses: int32[N, R], all of them, 0 after the end.
        mask: bool[N, R], true at the policy's tokens.
        written: bool[N, R], true at the user's too.
        rewards: float32[N].
        ref_logits: float32[number of prefixes, V].
    """

    def __init__(self, vocab_size=6, horizon=4, seed=0, constraint=None, user=None):
        self.vocab_size = vocab_size
        self.horizon = horizon
        self.stop_token = vocab_size - 1
        self.constraint = constraint
        self.user = user
        ended = self._all_responses()
        self.mask, self.written = ended.response_mask, np.asarray(ended.written_mask)
        self.responses = ended.token_ids[:, 1:]
        self.num_prefixes = sum(vocab_size**t for t in range(horizon))
        rng = np.random.default_rng(seed)
        self.ref_logits = rng.normal(size=(self.num_prefixes, vocab_size)).astype("float32")
        self.rewards = rng.normal(size=len(self.responses)).astype("float32")
        self._rewards_of_prefix = np.full(sum(vocab_size**t for t in range(horizon + 1)), np.nan)
        self._rewards_of_prefix[self._heap_numbers(self.responses, self.written)] = self.rewards

    def reward(self, token_ids, padding_mask, response_mask):
        """Rewards float32[B] of rollouts, as ``RolloutWorker`` needs them; NaN for an incomplete response."""
        return self.rewards_of(self._rewards_of_prefix, token_ids, padding_mask)

    def table(self, values):
        """Turns one value per response, float[N], into a function of rollouts, such as a cost."""
        of_prefix = np.full(len(self._rewards_of_prefix), np.nan)
        of_prefix[self._heap_numbers(self.responses, self.written)] = values
        return lambda token_ids, mask, _: self.rewards_of(of_prefix, token_ids, mask)

    def rewards_of(self, of_prefix, token_ids, padding_mask):
        """Looks up float32[B], the value of every response of rollouts, by its heap number."""
        response, written = (np.asarray(x)[:, -self.horizon :] for x in (token_ids, padding_mask))
        numbers = self._heap_numbers(response, written)
        return of_prefix[numbers].astype("float32")

    def prompts(self, rows):
        """The one prompt, repeated ``rows`` times, as Prompts."""
        return Prompts(np.full((rows, 1), PROMPT, "int32"), np.ones((rows, 1), "bool"))

    def policy(self):
        """A new policy, a TabularLM that equals the reference."""
        return TabularLM(self.ref_logits)

    def reference(self):
        """The reference, which does not change."""
        return self.policy()

    def critic(self):
        """A new critic."""
        return TabularCritic(self.num_prefixes, self.vocab_size)

    def inputs(self):
        """Prompt and response of all N responses: (token_ids int32[N, 1 + R], padding_mask bool)."""
        prompts = self.prompts(len(self.responses))
        return (
            np.concatenate([prompts.token_ids, self.responses], axis=1),
            np.concatenate([prompts.mask, self.written], axis=1),
        )

    def shown(self):
        """(responses int32[N, R], the policy's tokens bool[N, R], all tokens bool[N, R])."""
        return self.responses, self.mask, self.written

    def token_log_probs(self, policy):
        """Log-probs float64[N, R] of all tokens of all responses; 0 where masked."""
        token_ids, padding_mask = self.inputs()
        logits = before_response(policy, token_ids, padding_mask, self.horizon)
        if self.constraint is not None:
            prompts = self.prompts(len(token_ids))
            states = states_before(self.constraint, prompts, self.responses, self.mask)
            logits = restricted(logits, self.constraint, states)
        log_probs = ops.convert_to_numpy(token_log_probs(logits, self.responses))
        return np.where(self.mask, log_probs.astype("float64"), 0.0)

    def probabilities(self, policy):
        """Probabilities float64[N] of all responses; they sum to 1."""
        return np.exp(self.token_log_probs(policy).sum(axis=1))

    def optimum(self, beta, rewards=None):
        """The optimum pi*, float64[N], for the problem's rewards or other ones."""
        rewards = self.rewards if rewards is None else rewards
        reference = self.probabilities(self.reference())
        weights = reference * np.exp((rewards - rewards.max()).astype("float64") / beta)
        return weights / weights.sum()

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


def mirror(vocab_size):
    """User: says V - 2 less the policy's first token once, and then nothing; to a stop token it says V - 2."""

    def say(state):
        first = state.token_ids[:, 1]
        words = np.where(first == vocab_size - 1, vocab_size - 2, vocab_size - 2 - first)
        return words[:, None].astype("int32"), np.where(np.asarray(state.user_turns) < 1, 1, 0)

    return say


def no_repeats(vocab_size, horizon):
    """Constraint: no token twice in a row, and the last token V - 1 stops in time."""
    stop = vocab_size - 1
    after = np.tile(np.arange(vocab_size) + 1, (vocab_size, 1))  # state 1 + token; 0 is the start
    after[np.arange(1, vocab_size), np.arange(stop)] = -1
    return Automaton(
        np.where(after > stop, -1, after), np.ones(vocab_size, "bool"), [stop], horizon
    )


def total_variation(p, q):
    """Total variation distance, half the sum of |p - q|: the largest difference in probability of any event."""
    return 0.5 * float(np.abs(np.asarray(p) - np.asarray(q)).sum())


class TabularLM(keras.Model):
    """A language model that is a table of next-token logits, one row per prefix.

    Args:
        logits: float32[number of prefixes, V].
    """

    def __init__(self, logits):
        super().__init__()
        self.backbone = PrefixTable(np.asarray(logits, "float32"))
        width = self.backbone.width
        self.config = types.SimpleNamespace(width=width, vocab_size=width, max_positions=2**30)
        self.built = True

    def call(self, token_ids, padding_mask=None, last=None, training=None):
        return self.logits(self.backbone(token_ids, padding_mask=padding_mask, last=last))

    def logits(self, hidden, kernel=None):
        del kernel
        return hidden

    def readout_kernel(self):
        """None: the hidden states are the logits already."""
        return None


class TabularCritic(keras.Model):
    """A critic that is a table of values, one per prefix, initially 0.

    Args:
        num_prefixes: int.
        vocab_size: int, V.
    """

    def __init__(self, num_prefixes, vocab_size):
        super().__init__()
        self.backbone = PrefixTable(np.zeros((num_prefixes, 1), "float32"), vocab_size)
        self.built = True

    def call(self, token_ids, padding_mask=None, last=None, training=None):
        return self.backbone(token_ids, padding_mask=padding_mask, last=last)[..., 0]


class PrefixTable(keras.layers.Layer):
    """Looks up the row of every prefix; the cache of the decode loop is the numbers of the prefixes so far."""

    def __init__(self, table, vocab_size=None):
        super().__init__()
        self.width = table.shape[1]
        self.vocab_size = vocab_size or self.width
        self.table = self.add_weight(
            name="table", shape=table.shape, initializer=keras.initializers.Constant(table)
        )
        self.built = True

    def call(self, token_ids, padding_mask=None, last=None, training=None):
        """Rows float32[B, N, width] of the prefixes that end at each position; position 0 is the prompt."""
        token_ids = ops.cast(token_ids, "int32")
        number = ops.zeros_like(token_ids[:, 0])
        numbers = [number]
        for column in range(1, token_ids.shape[1]):
            number = self._longer(number, token_ids[:, column])
            numbers.append(number)
        wanted = numbers if last is None else numbers[-last:]
        return ops.take(self.table, ops.stack(wanted, axis=1), axis=0)

    def new_cache(self, rows, columns):
        """int32[rows, columns], of each column the number of the prefix that ends there."""
        return ops.zeros((rows, columns), "int32")

    def extend(self, token_ids, cache, column, visible, positions):
        """As ``GPT.extend``: rows float32[B, N, width] of the prefixes that end at N more columns, and the cache."""
        columns = ops.arange(cache.shape[1], dtype="int32")
        numbers = []
        for index in range(token_ids.shape[1]):
            here = ops.reshape(column, (-1, 1)) + index
            before = ops.sum(ops.where(columns == here - 1, cache, 0), axis=1)
            longer = self._longer(before, token_ids[:, index])
            numbers.append(ops.where(positions[:, index] == 0, 0, longer))
            cache = ops.where(columns == here, numbers[-1][:, None], cache)
        return ops.take(self.table, ops.stack(numbers, axis=1), axis=0), cache

    def _longer(self, number, tokens):
        """Number of a prefix with one more token; that of a complete response is clipped and not used."""
        return ops.minimum(self.vocab_size * number + tokens + 1, self.table.shape[0] - 1)
