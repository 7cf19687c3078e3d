"""Aligns one policy with several users at once, and compares it with each user's exact optimum.

    python -m experiments.studies.users_optimum
    python -m experiments.studies.users_optimum --algorithms=rloo --betas=0.5 --steps=300

A user is a vector z over K basis rewards R, so that user u's reward of a response is z_u . R, and the optimum for u

    pi*(y | u) ~ pi_ref(y) exp(z_u . R(y) / beta)

Four tokens, one of which stops, and at most three of them give 40 responses, which are enumerated. The reference is a
GPT that knows no users; the policy is the same GPT behind a prefix of one column for each user (``models.Conditioned``,
``layers.IdPrefix``), all of it trained, by the library's own rollouts, credit assignment, objectives and Learner. The
reward finds the user by the prompt's row, the model by its condition. Prints the total variation distance to the
optimum, the largest and the mean over users; before training, and of the best policy that knows no users, the mean of
the optima, as well. It should be below 0.05. Half a minute to two for an algorithm and a beta on two CPU cores.
"""

from __future__ import annotations

import keras
import numpy as np

from experiments.launch import launch
from experiments.studies.exact_optimum import ExactOptimumConfig, solve, with_kl_in_reward
from tfalign.enumerable import Problem, total_variation
from tfalign.evaluation.markdown import table
from tfalign.layers import IdPrefix
from tfalign.models import CausalLM, Conditioned, GPTConfig, separate_critic
from tfalign.models.actor_critic import copy_weights
from tfalign.options import option, option_record
from tfalign.types import NumberedPrompts

VECTORS = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [-1.0, 0.5]], "float32")


class UsersProblem(Problem):
    """An enumerable problem with a reward for each user, and networks for its policies.

    Args:
        vectors: float32[U, K], z of each user; the K basis rewards are N(0, 1).
        vocab_size, horizon, seed: see ``Problem``.
        width: int, of the networks.

    Attributes:
        rewards_of_users: float32[U, N].
    """

    def __init__(self, vectors=VECTORS, vocab_size=4, horizon=3, seed=0, width=32):
        self.num_users = len(vectors)
        super().__init__(vocab_size, horizon, seed)
        rng = np.random.default_rng([seed, 1])
        basis = rng.normal(size=(vectors.shape[1], len(self.responses)))
        self.rewards_of_users = (vectors @ basis).astype("float32")
        config = GPTConfig(
            vocab_size, width, 1, 2, max_positions=horizon + 2, initializer_range=width**-0.5
        )
        self._reference = CausalLM(config)
        random = np.random.default_rng([seed, 2])  # the same on every backend
        for weight in self._reference.weights:
            if len(weight.shape) > 1:
                weight.assign(random.normal(0, 0.6 * width**-0.5, weight.shape))
        self._of_prefix = [self._by_prefix(rewards) for rewards in self.rewards_of_users]

    def _by_prefix(self, rewards):
        of_prefix = np.full(len(self._rewards_of_prefix), np.nan)
        of_prefix[self._heap_numbers(self.responses, self.written)] = rewards
        return of_prefix

    def reward(self, token_ids, padding_mask, response_mask, rows):
        """As ``Problem.reward``, of the user that each row is of."""
        of_each = [self.rewards_of(of, token_ids, padding_mask) for of in self._of_prefix]
        return np.choose(np.asarray(rows), of_each)

    reward.takes_rows = True

    def prompts(self, rows):
        """The one prompt, by each user in turn."""
        users = np.arange(rows, dtype="int32") % self.num_users
        return NumberedPrompts(*super().prompts(rows), users, condition=users)

    def reference(self):
        return self._reference

    def policy(self):
        """A CausalLM: the reference behind a prefix of one column for each user."""
        same = CausalLM.from_config(self._reference.get_config())
        copy_weights(self._reference, same)
        width = same.config.width
        encoder = IdPrefix(self.num_users, 1, width, initializer_range=width**-0.5)
        return CausalLM(Conditioned(same.backbone, encoder))

    def critic(self):
        return separate_critic(self.policy())

    def probabilities_of(self, policy, user):
        """Probabilities float64[N] of all responses to one user."""
        return self.probabilities(_ForUser(policy, user))

    def distances(self, policy, beta):
        """Total variation distances float[U] of a policy to each user's optimum."""
        found = (self.probabilities_of(policy, user) for user in range(self.num_users))
        return [total_variation(p, best) for p, best in zip(found, self.optima(beta))]

    def optima(self, beta):
        """The users' optima, float64[U, N]."""
        return np.stack([self.optimum(beta, rewards) for rewards in self.rewards_of_users])


class _ForUser:
    """A policy as ``Problem.probabilities`` asks it, with the one user's condition."""

    def __init__(self, policy, user):
        self._policy, self._user = policy, user

    def __call__(self, token_ids, **how):
        users = np.full(len(token_ids), self._user, "int32")
        return self._policy(token_ids, **how, condition=users)


@option_record
class UsersOptimumConfig(ExactOptimumConfig):
    algorithms: tuple[str, ...] = option(
        ("ppo", "reinforce", "rloo", "grpo"), "Algorithms, comma-separated."
    )
    vocab_size: int = option(4, "Vocabulary size; the last token stops.", at_least=2)
    horizon: int = option(3, "Maximum response length, tokens.", at_least=1)
    steps: int = option(1000, "Batches of rollouts.", at_least=1)
    batch_size: int = option(1024, "Responses per batch.", at_least=1)
    learning_rate: float = option(
        3e-3, "Initial learning rate of Adam; decays linearly to 0.", above=0
    )


def main(config):
    problem = UsersProblem(VECTORS, config.vocab_size, config.horizon, config.seed)
    start = [problem.distances(problem.policy(), beta) for beta in config.betas]
    pooled = [_distances_of_one(problem, beta) for beta in config.betas]
    rows = [["(start)", *map(_shown, start)], ["(one policy for all)", *map(_shown, pooled)]]
    for name in config.algorithms:
        found = []
        for beta in config.betas:
            keras.utils.set_random_seed(config.seed)  # of the prefixes' first values
            policy = solve(problem, with_kl_in_reward(name, beta), config)
            found.append(problem.distances(policy, beta))
        rows.append([name, *map(_shown, found)])
        print(*rows[-1], flush=True)
    header = ["largest (mean) distance", *(f"beta {beta}" for beta in config.betas)]
    print(table(header, rows))


def _distances_of_one(problem, beta):
    """Those of the policy that is best for users who cannot be told apart: pi_ref exp(mean reward / beta)."""
    one = problem.optimum(beta, problem.rewards_of_users.mean(axis=0))
    return [total_variation(one, best) for best in problem.optima(beta)]


def _shown(distances):
    return f"{max(distances):.3f} ({np.mean(distances):.3f})"


if __name__ == "__main__":
    launch(UsersOptimumConfig, main, __doc__)
