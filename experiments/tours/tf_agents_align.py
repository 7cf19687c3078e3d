"""Aligns a policy under TF-Agents: its driver, buffer, metrics and Learner, with our PPO as the agent.

    python -m experiments.tours.tf_agents_align --run_dir=runs/tf_agents --model=runs/demo/models/sft \\
        --reward=runs/demo/models/reward_model --max_prompt_tokens=42 --steps=90 \\
        --learning_rate=1e-4
    python -m experiments.align --run_dir=runs/ours --model=runs/demo/models/sft \\
        --reward=runs/demo/models/reward_model --max_prompt_tokens=42 --steps=90 \\
        --learning_rate=1e-4

Both train the same policy: the second command with the fused loop, the first with one token of every row per
step, through ``TextGenerationTFEnvironment``, ``GPTPolicy`` and ``AlignmentAgent``; they must reach the same
reward, within the noise of their seeds. Every iteration collects one episode per row, trains on it, and
clears the buffer. Options are those of ``experiments.align``, except for groups, baselines, cost models and
older sampling policies, which the agent refuses. Writes RUN_DIR/models/ppo. Needs
``pip install 'tfalign[agents]'``. About three minutes on two CPU cores for the demo's models.

Result: gold reward 1.62 under TF-Agents and 1.56 by ``align``, over three seeds (docs/results/tf_agents.md).
"""

from __future__ import annotations

import tensorflow as tf

from experiments.launch import launch
from tfalign.cli.records import AlignJob
from tfalign.data import BatchStream
from tfalign.decoding.constraints import StateConstraint
from tfalign.environments import (
    AlignmentAgent,
    TextGenerationMDP,
    TextGenerationPyEnvironment,
    TextGenerationTFEnvironment,
)
from tfalign.options import option, option_record
from tfalign.trainers import OnPolicyTrainer
from tfalign.trainers.on_policy_parts import minibatch_size
from tfalign.training.loop import run_steps


@option_record
class TFAgentsAlignConfig(AlignJob):
    run_dir: str = option("runs/tf_agents", "Run directory.")

    def __post_init__(self):
        options = self.options
        if options.kl_penalty.target_kl or options.reward_options.on_bad_reward != "stop":
            raise ValueError("TF-Agents' Learner does not support --target_kl and --on_bad_reward")
        if options.evaluation.eval_every is not None:
            raise ValueError("TF-Agents' Learner does not support --eval_every")


def main(config):
    parts = OnPolicyTrainer(
        config.model,
        config.reward,
        config.data,
        config.algorithm,
        options=config.options,
        run_dir=config.run_dir,
    )
    train(parts)
    parts.save()


def train(parts):
    """Trains what a trainer has made under TF-Agents."""
    run, options = parts.run, parts.options
    if parts.algorithm.arrange is not None:
        raise ValueError(f"AlignmentAgent learns from rollouts. Received: algorithm={parts.stage}")
    update, train_step = their_update(parts)
    first_step = int(train_step)
    with run.metrics(parts.stage, resume_step=first_step) as metrics:
        run_steps(
            update,
            options.run.steps,
            _SavedByTheirLearner(),
            metrics,
            first_step=first_step,
            log_every=options.run.log_every,
            save_every=options.run.save_every,
            name=parts.stage,
        )


def their_update(parts):
    """Connects a trainer's parts to TF-Agents' driver, buffer and Learner: (``step -> metrics``, steps done)."""
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.metrics.tf_metrics import AverageEpisodeLengthMetric, AverageReturnMetric
    from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer

    options, train_step = parts.options, tf.Variable(0, dtype=tf.int64)
    rows, steps = options.update.batch_size, options.responses.max_new_tokens
    environment = environment_of(parts)
    agent = agent_of(parts, environment, train_step)
    buffer = TFUniformReplayBuffer(
        agent.collect_data_spec, rows, max_length=steps, dataset_drop_remainder=True
    )
    watched = {
        "average_return": AverageReturnMetric(buffer_size=rows, batch_size=rows),
        "average_length": AverageEpisodeLengthMetric(buffer_size=rows, batch_size=rows),
    }
    observers = [buffer.add_batch, *watched.values()]
    driver = DynamicStepDriver(environment, agent.collect_policy, observers, num_steps=rows * steps)
    # each row once, from the start of its episode
    dataset = buffer.as_dataset(rows, steps, single_deterministic_pass=True)
    learner = learner_of(parts, agent, dataset, train_step)
    collect = tf.function(lambda: driver.run(environment.reset(), maximum_iterations=steps))

    def update(step):
        buffer.clear()
        for metric in watched.values():
            metric.reset()
        collect()
        _, metrics = learner.run(iterator=iter(dataset))  # an earlier iterator has read ahead
        return metrics | {name: metric.result() for name, metric in watched.items()}

    return update, train_step


def environment_of(parts):
    """Episodes in graph; on the host, where somebody answers there, or the reward is a function of texts."""
    mdp, rows, seed = process(parts), parts.options.update.batch_size, parts.options.run.seed
    if mdp.user is None and not getattr(mdp.score, "takes_rows", False):
        return TextGenerationTFEnvironment(mdp, rows, seed)
    from tf_agents.environments.tf_py_environment import TFPyEnvironment

    return TFPyEnvironment(TextGenerationPyEnvironment(mdp, rows, seed))


def agent_of(parts, environment, train_step):
    """The trainer's algorithm as a TF-Agents agent."""
    options = parts.options
    return AlignmentAgent(
        environment.time_step_spec(),
        environment.action_spec(),
        parts.worker,
        parts.learner,
        parts.kl_control,
        parts.algorithm.epochs,
        options.update.batch_size // minibatch_size(parts.algorithm, options),
        options.run.seed,
        train_step,
    )


def learner_of(parts, agent, dataset, train_step):
    """TF-Agents' Learner, which writes checkpoints and summaries to the run directory."""
    from tf_agents.train.learner import Learner

    return Learner(
        str(parts.run.file("their_learner")),
        train_step,
        agent,
        lambda: dataset,
        checkpoint_interval=parts.options.run.save_every,
        summary_interval=parts.options.run.log_every,
    )


def process(parts):
    """The TextGenerationMDP whose episodes are responses to a trainer's prompts."""
    columns = [parts.options.responses.max_prompt_tokens]
    (prompts,) = BatchStream(parts.examples, len(parts.examples), columns, epochs=1)
    rollouts, model = parts.worker.config, parts.worker.actor_critic.policy.config
    return TextGenerationMDP(
        prompts,
        parts.worker.responder.reward,
        rollouts.max_new_tokens,
        model.vocab_size,
        rollouts.stop_tokens,
        rollouts.pad_id,
        user=rollouts.user,
        allowed_tokens=rollouts.constraint and StateConstraint(rollouts.constraint),
        max_length=model.max_positions,
    )


class _SavedByTheirLearner:
    """Checkpoints for ``run_steps`` that save nothing: TF-Agents' Learner writes its own."""

    def save(self, step):
        """Saves nothing."""


if __name__ == "__main__":
    launch(TFAgentsAlignConfig, main, __doc__)
