"""An algorithm on an enumerable problem, by the library's own rollouts, credit assignment, objective and Learner."""

from __future__ import annotations

import keras

from tfalign.enumerable.problem import Problem
from tfalign.enumerable.tabular import TabularLM
from tfalign.models import Actor, SeparateActorCritic
from tfalign.training.algorithms import Algorithm, algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import WarmupDecay
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker


def train(
    problem: Problem,
    name: str | Algorithm,
    beta: float,
    *,
    steps: int = 800,
    batch_size: int = 512,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> TabularLM:
    """A policy that an algorithm has trained on a problem, beta KL in the reward.

    Args:
        problem: what is learned; its discount is the credit assignment's.
        name: of ``training.algorithms.ALGORITHMS``, or an Algorithm of one's own.
        beta: reward units per nat.
        steps: batches of rollouts.
        batch_size: responses of a batch.
        learning_rate: of Adam at the start; it decays linearly to 0.
        seed: of sampling.

    Returns:
        TabularLM; ``problem.probabilities`` says what it does.

    Raises:
        ValueError: if the problem has a discount, and the algorithm's credit assignment none.
    """
    chosen = algorithm(name, kl_in="reward", kl_coefficient=beta)
    if problem.constraint is not None:
        chosen = algorithm(chosen, constraint=problem.constraint)
    if problem.discount != 1:
        chosen = algorithm(chosen, gamma=problem.discount)
    policy = problem.policy()
    model = SeparateActorCritic(policy, problem.critic()) if chosen.needs_critic else Actor(policy)
    rollouts = RolloutConfig(
        problem.horizon,
        stop_tokens=(problem.stop_token,),
        group_size=chosen.group_size,
        constraint=problem.constraint,
        user=problem.user,
    )
    baseline = chosen.baseline and chosen.baseline()
    worker = RolloutWorker(
        model, problem.reference(), problem.reward, rollouts, chosen.credit, baseline
    )
    updates = steps * chosen.epochs * chosen.minibatches
    schedule = WarmupDecay(learning_rate, updates, shape="linear")
    learner = Learner(model, chosen.loss, keras.optimizers.Adam(schedule, beta_2=0.99))
    for step in range(1, steps + 1):
        improve(
            worker,
            learner,
            problem.prompts(batch_size // chosen.group_size),
            FixedKL(beta),
            seed=seed,
            step=step,
            epochs=chosen.epochs,
            minibatch_size=batch_size // chosen.minibatches,
        )
    return policy
