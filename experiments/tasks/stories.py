"""Aligns a small pretrained model, llama2.c's stories260K, by PPO with a rule as the reward.

    python -m experiments.tasks.stories --model_dir=../shared/data/stories260K

Loads the 260,000-parameter Llama (Karpathy's llama2.c, trained on TinyStories, Eldan and Li 2023), checks that
200 greedy steps of the compiled loop give the published text where ``expected_greedy.json`` is present,
and rewards stories for sentences that mention an animal. Prints samples and the mean reward before and after
training, on seeds that training does not use; writes metrics and a plot of the curve to RUN_DIR. About two
minutes on two CPU cores.

Result: with --steps=25 the mean reward rises from 0.31 to 2.49 at 27 nats (docs/results/stories.md).
"""

from __future__ import annotations

import json
import re

import numpy as np

from experiments.launch import launch
from tfalign.data import BatchStream
from tfalign.decoding import Greedy, generate
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.plots import reward_against_kl
from tfalign.files import local_path
from tfalign.models.llama2c import load_llama2c, load_llama2c_tokenizer
from tfalign.options import changed, option, option_record, record
from tfalign.pretrained import Pretrained
from tfalign.trainers import OnPolicyTrainer
from tfalign.trainers.on_policy import texts
from tfalign.trainers.on_policy_options import OnPolicyOptions

BOS = 1  # begins a story and ends the previous one
OPENINGS = ("Once upon a time", "One day, a little girl", "There was a boy named Tim", "Lily")
ANIMALS = re.compile(r"\b(dog|cat|bird|bear|fish|frog|bunny|rabbit|duck|puppy|kitten|mouse)s?\b")


@option_record
class StoriesConfig:
    run_dir: str = option("runs/stories", "Run directory.")
    model_dir: str = option(
        "../shared/data/stories260K", "Directory of stories260K.bin and tok512.bin."
    )
    options: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            max_prompt_tokens=16,
            max_new_tokens=80,
            stop_tokens=(BOS,),
            missing_stop="keep",
            steps=60,
            learning_rate=3e-4,
            kl_coefficient=0.05,
            save_every=20,
        )
    )


class StoryTrainer(OnPolicyTrainer):
    """PPO that saves no model: llama2.c's tokenizer cannot be saved as ours."""

    def save(self):
        """Saves nothing; the metrics are written already."""


def animal_reward(prompt, response):
    """Number of different sentences that mention an animal, at most three."""
    del prompt
    sentences = {s.strip().lower() for s in re.split(r"[.!?]", response) if s.strip()}
    return float(min(sum(bool(ANIMALS.search(s)) for s in sentences), 3))


def main(config):
    directory = local_path(config.model_dir)
    policy = load_llama2c(directory / "stories260K.bin")
    tokenizer = load_llama2c_tokenizer(directory / "tok512.bin")
    _check_greedy(policy, directory / "expected_greedy.json")
    openings = OPENINGS * -(-config.options.update.batch_size // len(OPENINGS))
    trainer = StoryTrainer(
        Pretrained(policy, tokenizer),
        animal_reward,
        openings,
        "ppo",
        options=config.options,
        run_dir=config.run_dir,
        stage="stories",
    )
    before = _show(trainer, "before")
    trainer.train()
    after = _show(trainer, "after")
    reward_against_kl(
        trainer.run.plots / "reward_against_kl.png",
        read_curves(trainer.run.path / "metrics.jsonl")["stories"],
        {"score": "animal reward"},
    )
    print(json.dumps({"reward_before": before, "reward_after": after}))


def _check_greedy(model, file):
    """Prints whether the compiled loop reproduces the published greedy text."""
    if not file.exists():
        return
    expected = json.loads(file.read_text())["ids"]
    greedy = generate(
        model, np.array([[BOS]], "int32"), max_new_tokens=len(expected) - 1, sampler=Greedy()
    )
    same = np.asarray(greedy.tokens)[0].tolist() == expected[1:]
    print(f"200 greedy steps equal the published ones: {same}")


def _show(trainer, when):
    """Prints three stories; returns the mean reward of 8 batches with seeds that training does not use."""
    options = trainer.options
    columns = [options.responses.max_prompt_tokens]
    prompts = next(BatchStream(trainer.examples, options.update.batch_size, columns))
    rollouts = [trainer.worker(prompts, seed=seed, kl_coefficient=0.0) for seed in range(8)]
    for opening, story in list(zip(*texts(trainer.tokenizer, rollouts[0][0])))[:3]:
        print(f"{when}: {opening} |{story}")
    return float(np.mean([statistics["score"] for _, statistics in rollouts]))


if __name__ == "__main__":
    launch(StoriesConfig, main, __doc__)
