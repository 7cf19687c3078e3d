"""Compares every on-policy algorithm with the exact optimum of an enumerable problem.

    python -m experiments.studies.exact_optimum
    python -m experiments.studies.exact_optimum --algorithms=ppo,rloo --betas=0.5 --steps=600
    python -m experiments.studies.exact_optimum --algorithms=vtrace,reinforce --reference_samples --cap=1e9
    python -m experiments.studies.exact_optimum --no_repeats
    python -m experiments.studies.exact_optimum --two_turns

Six tokens, one of which stops, and at most four of them give 781 responses, with a random reference and
random rewards. With the KL in the reward the optimum is pi* ~ pi_ref exp(reward / beta) (Korbak et al. 2022,
eq. 5; see ``tfalign.enumerable``), and an algorithm that maximises this objective must reach it.
Prints the total variation distance to the optimum, before and after training, for each algorithm and beta;
it should be below 0.05. The policies are tables, trained by the library's own rollouts, credit assignment,
objectives and Learner with the algorithm's own numbers, except for batch size and KL, which is in the reward
with coefficient beta. Five to fifteen seconds per algorithm and beta on two CPU cores.

With --no_repeats the decode loop is constrained: no token twice in a row, and the stop token in time. The optimum
is that of the restricted distributions. With --two_turns a stop token ends a turn, a user says one word that depends on
the policy's first, and the policy goes on.

With --refresh_every above 1 an older policy samples, with --reference_samples the reference. Algorithms with
an importance correction still reach pi*; truncated weights (--cap) are a bias as long as the policies differ.

Result: the largest distance of a policy-gradient method is 0.041, where the reference is at 0.872
(docs/results/exact_optima.md).
"""

from __future__ import annotations

import dataclasses

import keras

from experiments.launch import launch
from experiments.studies.enumerable import mirror, no_repeats
from tfalign.enumerable import Problem, total_variation
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
    algorithms: tuple[str, ...] = option(
        POLICY_GRADIENTS, "Algorithms, comma-separated.", tuple(ALGORITHMS)
    )
    betas: tuple[float, ...] = option(
        (0.3, 0.5, 1.0), "KL coefficients in reward units per nat, comma-separated.", above=0
    )
    vocab_size: int = option(6, "Vocabulary size; the last token stops.", at_least=2)
    horizon: int = option(4, "Maximum response length, tokens.", at_least=1)
    steps: int = option(800, "Batches of rollouts.", at_least=1)
    batch_size: int = option(512, "Responses per batch.", at_least=1)
    learning_rate: float = option(
        0.1, "Initial learning rate of Adam; decays linearly to 0.", above=0
    )
    refresh_every: int = option(
        1, "Batches sampled by one copy of the policy; 1 is on-policy.", at_least=1
    )
    reference_samples: bool = option(False, "Sample all batches from the reference.")
    cap: float | None = option(
        None, "Upper bound of importance weights; none: the algorithm's own.", above=0
    )
    no_repeats: bool = option(
        False, "Allow no token twice in a row, and no response without the stop token."
    )
    two_turns: bool = option(False, "A user speaks between two turns of the policy.")
    seed: int = option(0, "Random seed of the problem and of sampling.", at_least=0, below=2**32)

    def __post_init__(self):
        if self.reference_samples and self.refresh_every > 1:
            raise ValueError(
                "--reference_samples excludes --refresh_every. "
                f"Received: refresh_every={self.refresh_every}"
            )


def main(config):
    sizes = config.vocab_size, config.horizon
    problem = Problem(
        *sizes,
        config.seed,
        no_repeats(*sizes) if config.no_repeats else None,
        mirror(config.vocab_size) if config.two_turns else None,
    )
    start = problem.probabilities(problem.policy())
    rows = [["(reference)", *(_shown(start, problem, beta) for beta in config.betas)]]
    for name in config.algorithms:
        cells = []
        for beta in config.betas:
            chosen = with_kl_in_reward(name, beta, config.cap)
            policy = solve(problem, chosen, config)
            cells.append(_shown(problem.probabilities(policy), problem, beta))
        rows.append([name, *cells])
        print(*rows[-1], flush=True)
    header = ["total variation to the optimum", *(f"beta {beta}" for beta in config.betas)]
    print(table(header, rows))


def with_kl_in_reward(name, beta, cap=None):
    """An Algorithm by name, with beta KL in the reward.

    Args:
        name: str, in ``ALGORITHMS``.
        beta: float, reward units per nat.
        cap: float, upper bound of its importance weights, if it has any; None for its own.
    """
    fields = {field.name for field in dataclasses.fields(ALGORITHMS[name].objective)}
    caps = {} if cap is None else dict.fromkeys(fields & {"cap", "clip_rho", "clip_trace"}, cap)
    return algorithm(name, kl_in="reward", kl_coefficient=beta, **caps)


def solve(problem, chosen, config):
    """Trains a policy on a problem by an algorithm, and returns it, a TabularLM.

    Args:
        problem: Problem.
        chosen: Algorithm.
        config: ExactOptimumConfig.
    """
    if problem.constraint is not None:
        chosen = algorithm(chosen, constraint=problem.constraint)
    worker = _worker(problem, chosen, config)
    updates = config.steps * chosen.epochs * chosen.minibatches
    optimizer = keras.optimizers.Adam(
        WarmupDecay(config.learning_rate, updates, shape="linear"), beta_2=0.99
    )
    learner = Learner(worker.actor_critic, chosen.loss, optimizer)
    policy = worker.actor_critic.policy
    for step in range(1, config.steps + 1):
        if config.refresh_every > 1 and step % config.refresh_every == 1:
            worker.older.refresh(policy)
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


def _worker(problem, chosen, config):
    policy = problem.policy()
    model = Actor(policy)
    if chosen.needs_critic:
        model = SeparateActorCritic(policy, problem.critic())
    rollouts = RolloutConfig(
        problem.horizon,
        stop_tokens=(problem.stop_token,),
        group_size=chosen.group_size,
        constraint=problem.constraint,
        user=problem.user,
    )
    older = None
    if config.reference_samples or config.refresh_every > 1:
        older = OlderResponder(problem.policy(), problem.reward, rollouts)
    return RolloutWorker(
        model,
        problem.reference(),
        problem.reward,
        rollouts,
        chosen.credit,
        chosen.baseline and chosen.baseline(),
        older=older,
    )


def _shown(probabilities, problem, beta):
    return f"{total_variation(probabilities, problem.optimum(beta)):.3f}"


if __name__ == "__main__":
    launch(ExactOptimumConfig, main, __doc__)
