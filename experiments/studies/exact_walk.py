"""Compares walks in an enumerable graph with their exact optimum, with and without shaping.

    python -m experiments.studies.exact_walk
    python -m experiments.studies.exact_walk --algorithms=ppo --betas=0.3 --steps=400

A random graph of four entities and two relations has some fifty walks of at most two hops from its first entity; those
that end at the last one earn 1. With the KL in the reward the optimum is pi* ~ pi_ref exp(reward / beta) among the walks
(see ``exact_optimum``, whose policies, tables, and settings these are). Shaping by a random potential changes what single
hops earn, and the optimum by nothing. Prints the total variation distance to it for each algorithm and beta, without
and with shaping; it should be below 0.05.

Result: docs/results/knowledge.md.
"""

from __future__ import annotations

import types

import numpy as np

from experiments.launch import launch
from experiments.studies.exact_optimum import ExactOptimumConfig, solve, with_kl_in_reward
from tfalign.applications.knowledge import WalkReward
from tfalign.decoding import GraphWalk
from tfalign.enumerable import Problem, total_variation
from tfalign.enumerable.problem import PROMPT
from tfalign.evaluation.markdown import table
from tfalign.options import option, option_record

ENTITIES, RELATIONS, HOPS = 4, 2, 2
VOCABULARY = ENTITIES + RELATIONS + 1
STOP = VOCABULARY - 1


@option_record
class ExactWalkConfig:
    algorithms: tuple[str, ...] = option(("ppo", "rloo", "grpo"), "Algorithms, comma-separated.")
    betas: tuple[float, ...] = option((0.3, 1.0), "KL coefficients, comma-separated.", above=0)
    steps: int = option(400, "Batches of rollouts.", at_least=1)
    batch_size: int = option(512, "Responses per batch.", at_least=1)
    learning_rate: float = option(0.1, "Initial learning rate of Adam.", above=0)
    seed: int = option(0, "Random seed of graph, potential and sampling.", at_least=0)


def walks(seed=0, shaped=False):
    """The problem: a Problem whose responses are the walks, and whose rewards are a WalkReward's.

    Args:
        seed: int.
        shaped: bool, whether the reward has a potential.
    """
    random = np.random.default_rng(seed)
    every = np.stack(np.indices((ENTITIES, RELATIONS, ENTITIES)), -1).reshape(-1, 3)
    edges = every[random.random(len(every)) < 0.8] + [0, ENTITIES, 0]
    walk = GraphWalk(edges, VOCABULARY, STOP, HOPS)
    problem = Problem(VOCABULARY, walk.max_new_tokens, seed, walk)
    entity_of = np.where(np.arange(VOCABULARY) < ENTITIES, np.arange(VOCABULARY), -1)
    vocabulary = types.SimpleNamespace(
        entity_of=lambda: entity_of,
        questions_of=lambda token_ids: np.tile([PROMPT, 0], (len(token_ids), 1)),
    )
    given = vocabulary, {(PROMPT, 0): [ENTITIES - 1]}
    potential = random.random((1, ENTITIES))
    problem.reward = WalkReward(*given, *((potential, [[PROMPT, 0]]) if shaped else ()))
    earned = problem.reward(*problem.inputs(), problem.mask)
    problem.rewards = earned.sum(axis=1)
    return problem


def main(config):
    header = ["total variation to the optimum"]
    header += [f"beta {beta}, {how}" for beta in config.betas for how in ("plain", "shaped")]
    problems = [walks(config.seed, shaped) for shaped in (False, True)]
    print(f"{len(problems[0].responses)} walks, of which {problems[0].rewards.mean():.2f} earn 1")
    start = problems[0].probabilities(problems[0].policy())
    optima = [problems[0].optimum(beta) for beta in config.betas]
    rows = [["(reference)", *(f"{total_variation(start, o):.3f}" for o in optima for _ in "12")]]
    for name in config.algorithms:
        found = [
            f"{distance(problem, name, beta, config):.3f}"
            for beta in config.betas
            for problem in problems
        ]
        rows.append([name, *found])
        print(*rows[-1], flush=True)
    print(table(header, rows))


def distance(problem, name, beta, config):
    """Total variation between what an algorithm finds and the optimum."""
    settings = ExactOptimumConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
    )
    policy = solve(problem, with_kl_in_reward(name, beta), settings)
    return total_variation(problem.probabilities(policy), problem.optimum(beta))


if __name__ == "__main__":
    launch(ExactWalkConfig, main, __doc__)
