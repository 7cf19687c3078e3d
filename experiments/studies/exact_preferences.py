"""Compares DPO, IPO and robust DPO with the exact optimum of an enumerable problem.

    python -m experiments.studies.exact_preferences
    python -m experiments.studies.exact_preferences --methods=dpo --betas=0.5 --steps=400

The problem is that of ``experiments.studies.exact_optimum``: 781 responses, a random reference and random
rewards. The preferences are exact: a pair of responses counts in both orders, each weighted by its
probability. With Bradley-Terry preferences, p = sigma(r - r'), DPO (Rafailov et al. 2023) must reach
pi* ~ pi_ref exp(reward / beta), and so must robust DPO (Chowdhury et al. 2024) where one label in five is
wrong. IPO's optimum is pi_ref exp(win rate / tau) (Azar et al. 2023, theorem 1), which is pi* where
preferences are linear in the reward, p = 1/2 + (r - r') / (2 s), and tau = beta / (2 s). Prints the total
variation distance to pi*, before and after training; it should be below 0.05. Some ten seconds per method
and beta on two CPU cores.

Result: the largest distance is 0.015, where the reference is at 0.872 (docs/results/preferences.md).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from experiments.launch import launch
from tfalign.enumerable import Problem, total_variation
from tfalign.evaluation.markdown import table
from tfalign.objectives import DPO, IPO, PairObjective, RobustDPO, response_log_probs
from tfalign.options import option, option_record
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay
from tfalign.types import Array, RankedResponses

WRONG = 0.2  # fraction of wrong labels, known to robust DPO
METHODS = ("dpo", "ipo", "robust_dpo")


@option_record
class ExactPreferencesConfig:
    methods: tuple[str, ...] = option(METHODS, "Preference losses, comma-separated.", METHODS)
    betas: tuple[float, ...] = option(
        (0.3, 0.5, 1.0), "KL coefficients in reward units per nat, comma-separated.", above=0
    )
    vocab_size: int = option(6, "Vocabulary size; the last token stops.", at_least=2)
    horizon: int = option(4, "Maximum response length, tokens.", at_least=1)
    steps: int = option(800, "Training steps.", at_least=1)
    batch_size: int = option(512, "Pairs per batch.", at_least=1)
    learning_rate: float = option(
        0.1, "Initial learning rate of Adam; decays linearly to 0.", above=0
    )
    seed: int = option(0, "Random seed of the problem and of the pairs.", at_least=0, below=2**32)


class Comparison(NamedTuple):
    """Pairs of responses, and the probability that the first one is preferred."""

    pairs: RankedResponses
    probability: Array  # float32[B]


@dataclasses.dataclass(frozen=True)
class Expected:
    """A pair objective in expectation over which of the two responses is preferred.

    Swapping the responses changes the sign of the gap.
    """

    objective: PairObjective

    def __call__(self, model, batch, training=True):
        """The expected loss of a Comparison, summed over pairs, its weight, and no metrics."""
        responses = response_log_probs(model, batch.pairs, training)
        gaps = self.objective.gap(responses, batch.pairs.ref_log_probs)
        probability, means = batch.probability, responses.means
        likelihood = probability * means[:, 0] + (1.0 - probability) * means[:, 1]
        loss = (
            probability * self.objective.loss(gaps)
            + (1.0 - probability) * self.objective.loss(-gaps)
            - self.objective.nll_coefficient * likelihood
        )
        return ops.sum(loss), ops.cast(gaps.shape[0], "float32"), {}


def main(config):
    problem = Problem(config.vocab_size, config.horizon, config.seed)
    start = problem.probabilities(problem.policy())
    rows = [["(reference)", *(_shown(start, problem, beta) for beta in config.betas)]]
    for name in config.methods:
        cells = []
        for beta in config.betas:
            policy = solve(problem, *method(name, problem, beta), config)
            cells.append(_shown(problem.probabilities(policy), problem, beta))
        rows.append([name, *cells])
        print(*rows[-1], flush=True)
    header = ["total variation to the optimum", *(f"beta {beta}" for beta in config.betas)]
    print(table(header, rows))


def method(name, problem, beta):
    """An objective and preferences whose optimum is pi* for this beta."""
    if name == "dpo":
        return DPO(beta=beta), bradley_terry(problem.rewards)
    if name == "robust_dpo":
        right = bradley_terry(problem.rewards)
        wrong = lambda i, j: (1 - WRONG) * right(i, j) + WRONG * (1 - right(i, j))  # noqa: E731
        return RobustDPO(beta=beta, label_smoothing=WRONG), wrong
    if name == "ipo":
        spread = float(np.ptp(problem.rewards))
        linear = lambda i, j: 0.5 + (problem.rewards[i] - problem.rewards[j]) / (2 * spread)  # noqa: E731
        return IPO(beta=beta / (2 * spread), per_token=False), linear
    raise ValueError(f"Methods are dpo, ipo and robust_dpo. Received: {name!r}")


def bradley_terry(rewards):
    """Bradley-Terry preferences: (i, j) -> probability that response i is preferred to response j."""
    return lambda i, j: 1.0 / (1.0 + np.exp(rewards[j].astype("float64") - rewards[i]))


def solve(problem, objective, preference, config):
    """Trains a policy on exact preferences, and returns it, a TabularLM.

    Args:
        problem: Problem.
        objective: PairObjective.
        preference: (int[B], int[B]) -> float[B], probability that the first response is preferred.
        config: ExactPreferencesConfig.
    """
    policy = problem.policy()
    schedule = WarmupDecay(config.learning_rate, config.steps, shape="linear")
    learner = Learner(policy, Expected(objective), keras.optimizers.Adam(schedule, beta_2=0.99))
    responses = reference_responses(problem)
    rng = np.random.default_rng(config.seed)
    for _ in range(config.steps):
        one, other = different_pairs(rng, len(problem.responses), config.batch_size)
        pairs = RankedResponses(*(field[np.stack([one, other], axis=1)] for field in responses))
        learner.update(Comparison(pairs, preference(one, other).astype("float32")))
    return policy


def different_pairs(rng, count, size):
    """Samples ``size`` pairs of two different indices below ``count``, uniformly: (int[size], int[size])."""
    one = rng.integers(0, count, size)
    return one, (one + rng.integers(1, count, size)) % count


def reference_responses(problem):
    """Fields of RankedResponses for all N responses, without the axis of ranks."""
    ref_log_probs = problem.token_log_probs(problem.policy()).sum(axis=1)
    return (*problem.inputs(), problem.mask, ref_log_probs.astype("float32"))


def _shown(probabilities, problem, beta):
    return f"{total_variation(probabilities, problem.optimum(beta)):.3f}"


if __name__ == "__main__":
    launch(ExactPreferencesConfig, main, __doc__)
