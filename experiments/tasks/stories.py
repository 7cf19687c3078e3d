"""PPO with a rule reward on a real trained model, llama2.c's stories260K.

    python -m experiments.tasks.stories --model_dir=../shared/data/stories260K

Loads the 260,000-parameter Llama (Karpathy's llama2.c, trained on TinyStories), checks that 200
greedy steps of the compiled loop give the published text where ``expected_greedy.json`` is present,
and rewards stories for sentences that mention an animal. Prints samples and the mean reward before
and after on fresh seeds; writes metrics and a plot of the curve to RUN_DIR. About two minutes on two
CPU cores.
"""

from __future__ import annotations

import json
import re

import numpy as np

from experiments import stages
from experiments.launch import launch
from tfalign.decoding import Greedy, generate
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.plots import reward_against_kl
from tfalign.files import local_path
from tfalign.models import SharedActorCritic
from tfalign.models.llama2c import load_llama2c, load_llama2c_tokenizer
from tfalign.objectives import PPO
from tfalign.options import changed, option, option_record
from tfalign.rewards import TextReward
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.optimizers import make_optimizer
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.loggers import LOGGERS
from tfalign.training.on_policy import improve
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Prompts

BOS = 1  # begins a story, and ends the one before it
PAD = 0
OPENINGS = ("Once upon a time", "One day, a little girl", "There was a boy named Tim", "Lily")
ANIMALS = re.compile(r"\b(dog|cat|bird|bear|fish|frog|bunny|rabbit|duck|puppy|kitten|mouse)s?\b")


@option_record
class StoriesConfig:
    run_dir: str = option("runs/stories", "where the run lives")
    model_dir: str = option("../shared/data/stories260K", "holds stories260K.bin and tok512.bin")
    max_new_tokens: int = option(80, "longest story", at_least=1)
    batch_size: int = option(64, "stories of a batch of rollouts", at_least=1)
    minibatch_size: int = option(16, "stories of an update", at_least=1)
    epochs: int = option(4, "passes over the rollouts", at_least=1)
    steps: int = option(60, "batches of rollouts", at_least=1)
    learning_rate: float = option(3e-4, "at the start; decays linearly to 0", above=0)
    kl_coefficient: float = option(0.05, "per nat", at_least=0)
    seed: int = option(0, "of sampling", at_least=0, below=2**32)
    log_every: int = option(1, "iterations between lines in metrics.jsonl", at_least=1)
    log_to: str = option(
        "", "metrics go to TensorBoard, and to these: wandb, mlflow", LOGGERS, list_of=str
    )
    save_every: int = option(20, "iterations between checkpoints", at_least=1)
    resume_from: int = stages.resume_option()

    def __post_init__(self):
        if self.batch_size % self.minibatch_size:
            raise ValueError(
                "--minibatch_size must divide --batch_size. Received: "
                f"minibatch_size={self.minibatch_size}, batch_size={self.batch_size}"
            )


def animal_reward(prompt, response):
    """Sentences that mention an animal, at most three; a repeated sentence counts once."""
    del prompt
    sentences = {s.strip().lower() for s in re.split(r"[.!?]", response) if s.strip()}
    return float(min(sum(bool(ANIMALS.search(s)) for s in sentences), 3))


def main(config):
    directory = local_path(config.model_dir)
    policy = load_llama2c(directory / "stories260K.bin")
    reference = load_llama2c(directory / "stories260K.bin")
    tokenizer = load_llama2c_tokenizer(directory / "tok512.bin")
    _check_greedy(policy, directory / "expected_greedy.json")
    run = stages.open_run("stories", config)
    actor_critic = SharedActorCritic(policy)
    worker = RolloutWorker(
        actor_critic,
        reference,
        TextReward(animal_reward, tokenizer.decode),
        RolloutConfig(config.max_new_tokens, stop_tokens=(BOS,), pad_id=PAD),
    )
    updates = config.steps * config.epochs * (config.batch_size // config.minibatch_size)
    optimizer = make_optimizer(
        changed(OnPolicyOptions().update, learning_rate=config.learning_rate), updates
    )
    learner = Learner(actor_critic, PPO(), optimizer)
    prompts, kl_control = _prompts(tokenizer, config.batch_size), FixedKL(config.kl_coefficient)
    before = _show(worker, prompts, tokenizer, "before")
    state, first_step = stages.resumable(
        run, "stories", learner, {"kl": kl_control}, config.resume_from
    )

    def update(step):
        _, metrics = improve(
            worker,
            learner,
            prompts,
            kl_control,
            seed=config.seed,
            step=step,
            epochs=config.epochs,
            minibatch_size=config.minibatch_size,
        )
        return metrics

    stages.repeat(run, "stories", update, config, state, first_step)
    after = _show(worker, prompts, tokenizer, "after")
    reward_against_kl(
        run.plots / "reward_against_kl.png",
        read_curves(run.path / "metrics.jsonl")["stories"],
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


def _prompts(tokenizer, rows):
    ids = [[BOS, *tokenizer.encode(text)] for text in OPENINGS]
    columns = max(map(len, ids))
    token_ids = np.full((rows, columns), PAD, "int32")
    mask = np.zeros((rows, columns), "bool")
    for row in range(rows):
        prompt = ids[row % len(ids)]
        token_ids[row, columns - len(prompt) :] = prompt
        mask[row, columns - len(prompt) :] = True
    return Prompts(token_ids, mask)


def _show(worker, prompts, tokenizer, when):
    """Prints three stories; returns the mean reward of 8 batches of seeds training never uses."""
    rollouts = [worker(prompts, seed=seed, kl_coefficient=0.0) for seed in range(8)]
    first = rollouts[0][0]
    length = first.response_mask.shape[1]
    for row in range(3):
        real = np.asarray(first.padding_mask)[row]
        ids = np.asarray(first.token_ids)[row]
        opening = tokenizer.decode(ids[:-length][real[:-length]].tolist())
        print(f"{when}: {opening} |{tokenizer.decode(ids[-length:][real[-length:]].tolist())}")
    return float(np.mean([statistics["score"] for _, statistics in rollouts]))


if __name__ == "__main__":
    launch(StoriesConfig, main, __doc__)
