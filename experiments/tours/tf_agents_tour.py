"""TF-Agents' own agents learn to write: REINFORCE and PPO on the TF environment, and ours beside them.

    python -m experiments.tours.tf_agents_tour
    python -m experiments.tours.tf_agents_tour --agents=reinforce --seeds=0,1,2

Nothing of the first two agents is tfalign's: they see the specs, the observations and the rewards of
``TextGenerationTFEnvironment``, and their networks are one hidden layer on the one-hot tokens. The task
is ``environments.tasks.repeat_prompt``, whose optimum ``best_returns`` finds by trying every response.
The third is ``AlignmentAgent``: a small GPT with a key-value cache, trained by our PPO through the very
same driver, buffer and metric. Needs ``pip install 'tfalign[agents]'``.

Expected, a line an agent and seed: the mean return of 256 episodes, sampled, as a share of the optimum,
of which at least 90 % is asked.
"""

from __future__ import annotations

import sys
import time

import keras
import tensorflow as tf

from experiments.launch import launch
from tfalign.environments import AlignmentAgent, TextGenerationTFEnvironment
from tfalign.environments.tasks import best_returns, repeat_prompt
from tfalign.models import CausalLM, GPTConfig, SharedActorCritic
from tfalign.objectives import PPO
from tfalign.options import option, option_record
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker

ROWS = 32
ENOUGH = 0.9  # of the optimum


@option_record
class TourConfig:
    agents: str = option("reinforce,ppo,alignment", "which, comma-separated")
    seeds: str = option(
        "0,1,2", "of training, comma-separated", list_of=int, at_least=0, below=2**32
    )
    vocab_size: int = option(6, "of the task: id 0 is padding, 1 stops", at_least=3)
    max_new_tokens: int = option(4, "of the task, longest response", at_least=1)
    iterations: int = option(200, "collections and trainings", at_least=1)


def main(config):
    mdp = repeat_prompt(config.vocab_size, config.max_new_tokens)
    optimum = float(best_returns(mdp).mean())
    shares = []
    for name in config.agents.split(","):
        for seed in map(int, config.seeds.split(",")):
            keras.utils.set_random_seed(seed)
            start = time.perf_counter()
            environment = TextGenerationTFEnvironment(mdp, ROWS, seed)
            agent = AGENTS[name](environment)
            learn(agent, environment, config.iterations, 2 * config.max_new_tokens)
            earned = mean_return(agent.collect_policy, environment)
            shares.append(earned / optimum)
            print(
                f"{name}, seed {seed}: return {earned:.3f} of {optimum:.3f}, {shares[-1]:.1%}, "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
    if min(shares) < ENOUGH:
        sys.exit(f"less than {ENOUGH:.0%} of the optimum: {min(shares):.1%}")


def learn(agent, environment, iterations, steps):
    """Collects so many steps of every row, trains on them, and begins anew."""
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer

    buffer = TFUniformReplayBuffer(agent.collect_data_spec, ROWS, max_length=steps)
    driver = DynamicStepDriver(
        environment, agent.collect_policy, [buffer.add_batch], num_steps=steps * ROWS
    )

    collect = tf.function(lambda: driver.run(environment.reset(), maximum_iterations=steps))
    train = tf.function(agent.train)
    for _ in range(iterations):
        collect()
        train(buffer.gather_all())
        buffer.clear()


def mean_return(policy, environment, episodes=256):
    """Mean undiscounted return of episodes, as TF-Agents' metric counts it."""
    from tf_agents.drivers.dynamic_episode_driver import DynamicEpisodeDriver
    from tf_agents.metrics.tf_metrics import AverageReturnMetric

    metric = AverageReturnMetric(buffer_size=episodes, batch_size=ROWS)
    driver = DynamicEpisodeDriver(environment, policy, [metric], num_episodes=episodes)
    tf.function(driver.run)(environment.reset())
    return float(metric.result())


def reinforce(environment):
    """TF-Agents' REINFORCE with a learned baseline."""
    from tf_agents.agents.reinforce.reinforce_agent import ReinforceAgent

    agent = ReinforceAgent(
        environment.time_step_spec(),
        environment.action_spec(),
        _actor_network(environment),
        _optimizer(),
        value_network=_value_network(environment),
    )
    agent.initialize()
    return agent


def ppo(environment):
    """TF-Agents' PPO with a clipped ratio."""
    from tf_agents.agents.ppo.ppo_clip_agent import PPOClipAgent

    agent = PPOClipAgent(
        environment.time_step_spec(),
        environment.action_spec(),
        _optimizer(),
        actor_net=_actor_network(environment),
        value_net=_value_network(environment),
        importance_ratio_clipping=0.2,
        entropy_regularization=0.01,
        discount_factor=1.0,
        num_epochs=4,
        normalize_observations=False,
        normalize_rewards=False,
    )
    agent.initialize()
    return agent


def alignment(environment):
    """Our PPO on a GPT of one block, without a penalty for leaving its reference."""
    mdp = environment.mdp
    total = mdp.prompts.token_ids.shape[1] + mdp.max_new_tokens
    config = GPTConfig(mdp.vocab_size, 32, 1, 2, max_positions=total, initializer_range=0.1)
    policy = CausalLM(config)
    worker = RolloutWorker(
        SharedActorCritic(policy),
        policy,
        None,
        RolloutConfig(mdp.max_new_tokens, stop_tokens=mdp.stop_tokens),
    )
    learner = Learner(worker.actor_critic, PPO(value_coefficient=0.5), keras.optimizers.Adam(1e-3))
    return AlignmentAgent(
        environment.time_step_spec(), environment.action_spec(), worker, learner, FixedKL(0.0)
    )


AGENTS = {"reinforce": reinforce, "ppo": ppo, "alignment": alignment}


def _actor_network(environment):
    from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork

    return ActorDistributionNetwork(
        environment.observation_spec(),
        environment.action_spec(),
        fc_layer_params=(64,),
        **_reading(environment),
    )


def _value_network(environment):
    from tf_agents.networks.value_network import ValueNetwork

    return ValueNetwork(
        environment.observation_spec(), fc_layer_params=(64,), **_reading(environment)
    )


def _reading(environment):
    """What their networks make of an observation: one-hot tokens, and which of them are real."""
    from tf_keras import layers

    size = environment.mdp.vocab_size

    def one_hot(token_ids):
        return tf.reshape(tf.one_hot(token_ids, size), (-1, token_ids.shape[1] * size))

    return {
        "preprocessing_layers": {
            "token_ids": layers.Lambda(one_hot),
            "padding_mask": layers.Lambda(lambda real: tf.cast(real, tf.float32)),
        },
        "preprocessing_combiner": layers.Concatenate(),
    }


def _optimizer():
    return tf.compat.v1.train.AdamOptimizer(3e-3)


if __name__ == "__main__":
    launch(TourConfig, main, __doc__)
