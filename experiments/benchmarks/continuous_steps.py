"""What continuous batching brings to a step of alignment: iterations of PPO and GRPO with and without slots, in turn.

    taskset -c 0 python -m experiments.benchmarks.continuous_steps --demo=runs/demo

On one core, on a demo's fine-tuned policy and reward model, with the demo's options for PPO: 64 responses of at most 48 tokens. GRPO's
are the same responses in groups of 8, and its own numbers. For each algorithm there is a trainer without slots and one with; in every
round each runs one iteration (query, respond, score, train) on the same prompts. Seconds are of CPU, of all threads, so that other work
on the machine does not count. Weights differ by rounding alone after the first round.

Result: steps 1.04 (PPO) and 1.17 times as fast (GRPO), their responses 1.8 and 2.4 times (docs/results/continuous.md).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from experiments.launch import launch
from tfalign.evaluation.markdown import table
from tfalign.options import option, option_record
from tfalign.trainers import OnPolicyTrainer
from tfalign.trainers.on_policy_parts import minibatch_size
from tfalign.trainers.pipeline_options import PipelineOptions
from tfalign.training.on_policy import improve


@option_record
class ContinuousStepsConfig:
    demo: str = option("runs/demo", "Run directory of a demo.")
    data_dir: str = option("runs/data", "Directory of prepared data sets.")
    algorithms: tuple[str, ...] = option(("ppo", "grpo"), "Algorithms, comma-separated.")
    slots: int = option(16, "Responses decoded at once.", at_least=1)
    rounds: int = option(5, "Timed rounds; each runs every trainer once.", at_least=1)


def main(config):
    header = ["algorithm", "slots", "mean length", "CPU seconds of a step", "of its responses"]
    header += ["step faster by", "range", "responses faster by"]
    rows = [row for name in config.algorithms for row in measured(config, name)]
    print(table(header, rows))


def measured(config, name):
    """A row of the table without slots and one with."""
    with tempfile.TemporaryDirectory() as folder:
        steps = {slots: Step(config, name, slots, folder) for slots in (None, config.slots)}
        rounds = [[step(n) for step in steps.values()] for n in range(1, config.rounds + 2)]
        lengths = [step.mean_length for step in steps.values()]
    seconds = np.array(rounds[1:])  # [rounds, without and with, of the step and of its responses]
    ratios = seconds[:, :1] / seconds
    for place, slots in enumerate(steps):
        whole, responses = ratios[:, place].T
        yield [
            *map(str, (name, slots or "none")),
            f"{lengths[place]:.1f}",
            *(f"{x:.3f}" for x in np.median(seconds[:, place], axis=0)),
            f"{np.median(whole):.2f}",
            f"{whole.min():.2f} to {whole.max():.2f}",
            f"{np.median(responses):.2f}",
        ]


class Step:
    """One iteration of a trainer; called with its number, it returns (seconds of CPU, those of its responses)."""

    def __init__(self, config, name, slots, folder):
        models, stage = Path(config.demo) / "models", PipelineOptions().ppo
        self.trainer = OnPolicyTrainer(
            models / "sft",
            models / "reward_model",
            stage.data,
            name,
            options=stage.options,
            data_dir=config.data_dir,
            slots=slots,
            run_dir=f"{folder}/{name}-{slots}",
        )
        responder = self.trainer.worker.responder
        self._generate, responder.generator = responder.generator, self._responded
        self._seconds = self.mean_length = 0.0

    def __call__(self, number):
        trainer = self.trainer
        began, self._seconds = time.process_time(), 0.0
        improve(
            trainer.worker,
            trainer.learner,
            next(trainer.prompts),
            trainer.kl_control,
            seed=trainer.options.run.seed,
            step=number,
            epochs=trainer.algorithm.epochs,
            minibatch_size=minibatch_size(trainer.algorithm, trainer.options),
        )
        return time.process_time() - began, self._seconds

    def _responded(self, *given):
        began = time.process_time()
        generation = self._generate(*given)
        self.mean_length = np.asarray(generation.mask).sum(axis=1).mean()  # waits for the loop
        self._seconds = time.process_time() - began
        return generation


if __name__ == "__main__":
    launch(ContinuousStepsConfig, main, __doc__)
