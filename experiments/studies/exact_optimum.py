"""Every on-policy algorithm against the exact optimum of a problem that can be enumerated.

    python -m experiments.studies.exact_optimum
    python -m experiments.studies.exact_optimum --algorithms=ppo,rloo --betas=0.5 --steps=600
    python -m experiments.studies.exact_optimum --algorithms=vtrace,reinforce --refresh_every=0 --cap=1e9

Six tokens of which one stops, at most four of them: 781 responses, a random reference and random
rewards. With the KL in the reward the optimum is pi* ~ pi_ref exp(reward / beta) (see
``experiments.studies.enumerable``), and an algorithm that maximises that objective must arrive there. Prints
the total variation distance to it, before and after, for each algorithm and beta; 0.05 is the mark.
The policies are tables, trained by the library's own rollouts, credits, objectives and Learner with
the algorithm's own numbers, but for the batch and KL: beta in the reward. Five to fifteen seconds a
cell on two CPU cores.

With ``--refresh_every`` an older policy samples: that of up to so many batches ago, or with 0 the
reference to the end. Algorithms that correct for it still arrive at pi*; to truncate their weights
(``--cap``) is a bias as long as the two policies differ.
"""

from __future__ import annotations

import dataclasses

import keras

from experiments.launch import launch
from experiments.studies.enumerable import Problem, TabularCritic, total_variation
from tfalign.evaluation.markdown import table
from tfalign.models import Actor, SeparateActorCritic
from tfalign.options import option, option_record
from tfalign.training.algorithms import ALGORITHMS, POLICY_GRADIENTS, algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import WarmupDecay
from tfalign.training.responses import OlderResponder, RolloutConfig
from tfalign.training.rollouts import RolloutWorker


@option_record
class ExactOptimumConfig:
    algorithms: str = option(",".join(POLICY_GRADIENTS), "which, comma-separated")
    betas: str = option(
        "0.3,0.5,1.0",
        "KL coefficients, reward units per nat, comma-separated",
        list_of=float,
        above=0,
    )
    vocab_size: int = option(6, "tokens, the last of which stops", at_least=2)
    horizon: int = option(4, "most tokens of a response", at_least=1)
    steps: int = option(800, "batches of rollouts", at_least=1)
    batch_size: int = option(512, "responses of a batch", at_least=1)
    learning_rate: float = option(0.1, "of Adam, at the start; decays linearly to 0", above=0)
    refresh_every: int = option(
        1,
        "batches an older policy samples before it is brought up to date; 0 never, 1 on-policy",
        at_least=0,
    )
    cap: float = option(
        -1.0,
        "largest importance weight, where there is one; -1 the algorithm's own",
        above=0,
        also=(-1,),
    )
    seed: int = option(0, "of the problem and of sampling", at_least=0, below=2**32)


def main(config):
    betas = [float(beta) for beta in config.betas.split(",")]
    problem = Problem(config.vocab_size, config.horizon, config.seed)
    start = problem.probabilities(problem.policy())
    rows = [["(reference)", *(_shown(start, problem, beta) for beta in betas)]]
    for name in config.algorithms.split(","):
        cells = []
        for beta in betas:
            policy = solve(problem, with_kl_in_reward(name, beta, config.cap), config)
            cells.append(_shown(problem.probabilities(policy), problem, beta))
        rows.append([name, *cells])
        print(*rows[-1], flush=True)
    print(table(["total variation to the optimum", *(f"beta {beta}" for beta in betas)], rows))


def with_kl_in_reward(name, beta, cap=-1.0):
    """The Algorithm of a name, with beta KL in the reward, and importance weights up to ``cap`` where
    it has them (-1: up to its own)."""
    fields = {field.name for field in dataclasses.fields(ALGORITHMS[name].objective)}
    caps = {} if cap == -1 else dict.fromkeys(fields & {"cap", "clip_rho", "clip_trace"}, cap)
    return algorithm(name, kl_in="reward", kl_coefficient=beta, **caps)


def solve(problem, chosen, config):
    """The TabularLM an algorithm arrives at.

    Args:
        problem: Problem.
        chosen: Algorithm.
        config: ExactOptimumConfig.
    """
    policy = problem.policy()
    model = Actor(policy)
    if chosen.needs_critic:
        critic = TabularCritic(problem.num_prefixes, problem.vocab_size)
        model = SeparateActorCritic(policy, critic)
    rollouts = RolloutConfig(
        problem.horizon, stop_tokens=(problem.stop_token,), group_size=chosen.group_size
    )
    older = None
    if config.refresh_every != 1:
        older = OlderResponder(problem.policy(), problem.reward, rollouts)
    worker = RolloutWorker(
        model,
        problem.policy(),
        problem.reward,
        rollouts,
        chosen.credit,
        chosen.baseline and chosen.baseline(),
        older=older,
    )
    updates = config.steps * chosen.epochs * chosen.minibatches
    optimizer = keras.optimizers.Adam(
        WarmupDecay(config.learning_rate, updates, shape="linear"), beta_2=0.99
    )
    learner = Learner(model, chosen.loss, optimizer)
    for step in range(1, config.steps + 1):
        if config.refresh_every > 1 and step % config.refresh_every == 1:
            older.refresh(policy)
        improve(
            worker,
            learner,
            problem.prompts(config.batch_size // chosen.group_size),
            FixedKL(chosen.kl_coefficient if chosen.kl_in == "reward" else 0.0),
            seed=config.seed,
            step=step,
            epochs=chosen.epochs,
            minibatch_size=config.batch_size // chosen.minibatches,
        )
    return policy


def _shown(probabilities, problem, beta):
    return f"{total_variation(probabilities, problem.optimum(beta)):.3f}"


if __name__ == "__main__":
    launch(ExactOptimumConfig, main, __doc__)
