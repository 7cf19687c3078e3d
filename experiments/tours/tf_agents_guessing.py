"""The guessing game of several turns under TF-Agents: its driver, buffer and Learner, with our PPO as the agent.

    python -m experiments.tours.tf_agents_guessing --run_dir=runs/tf_agents_guessing

Model, environment, constraint and options are those of ``experiments.tasks.guessing``; here one token of every row
is drawn per step, through ``TextGenerationPyEnvironment``, TF-Agents' ``TFPyEnvironment`` and ``DynamicStepDriver``,
and ``GPTPolicy``, whose action mask is the constraint. Needs ``pip install 'tfalign[agents]'``.

Result: 99.7% of best play, as by ``align`` (docs/results/guessing.md).
"""

from __future__ import annotations

from experiments.launch import launch
from experiments.tasks.guessing import GuessingConfig, measured, trainer_of
from experiments.tours.tf_agents_align import train
from tfalign.options import option, option_record


@option_record
class TFAgentsGuessingConfig(GuessingConfig):
    run_dir: str = option("runs/tf_agents_guessing", "Run directory.")


def main(config):
    parts = trainer_of(config)
    measured(config, parts, lambda: train(parts))


if __name__ == "__main__":
    launch(TFAgentsGuessingConfig, main, __doc__)
