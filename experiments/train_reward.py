"""Learns a reward model from preferences.

    python -m experiments.train_reward --run_dir=runs/reward --model=runs/sft/models/sft
    python -m experiments.train_reward --model=DIR --data=mine.jsonl --run_dir=runs/mine_reward
    python -m experiments.train_reward --data=anthropic:helpful-base.jsonl.gz --on_bad=skip ...

The second reads JSON lines with "prompt", "chosen" and "rejected". The trunk starts from the given
language model, or (``--trunk=bert``) from a fresh BERT of its size; Bradley-Terry loss (Stiennon
et al. 2020). Held-out scores go to RUN_DIR/reward_model_scores.npz; then the scores are normalised
to N(0, 1) on answers that ``--normalize_on`` gives to held-in prompts, and the numbers saved with
the model in RUN_DIR/models/reward_model. About a minute on two CPU cores for the embedded data.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from experiments import stages
from experiments.launch import launch, option
from tfalign import backend
from tfalign.data import (
    BatchStream,
    PreferenceRecord,
    encode_preferences,
    encode_prompts,
)
from tfalign.decoding import Generator
from tfalign.models import BERTConfig, from_pretrained
from tfalign.objectives import RewardModelling, score_pairs
from tfalign.rewards import LearnedReward, RewardModel
from tfalign.training.rollouts import RolloutWorker


@dataclasses.dataclass(frozen=True)
class RewardConfig(stages.SupervisedConfig):
    run_dir: str = option("runs/reward", "where the run lives")
    model: str = option("runs/sft/models/sft", "language model whose trunk and tokenizer are used")
    trunk: str = option(
        "gpt", "the given model's trunk, or a fresh BERT of its size", ["gpt", "bert"]
    )
    normalize_on: str = option("", "policy whose answers get scores N(0, 1); --model where empty")
    data: str = option(
        stages.EMBEDDED,
        '"embedded", FILE.jsonl with "prompt", "chosen" and "rejected", anthropic:FILE, '
        "tfds:NAME:SPLIT",
    )
    length: int = option(96, "longest prompt with answer, tokens")
    max_new_tokens: int = option(48, "of the answers the scores are normalised on")
    max_prompt_tokens: int = option(48, "of their prompts")
    centering: float = option(0.0, "coefficient of (chosen + rejected)^2")
    steps: int = option(300, "updates")
    learning_rate: float = option(3e-4, "at its peak")
    normalize_batches: int = option(8, "batches of answers the scores are normalised on")


def train_reward(config, run):
    """Trains, evaluates, normalises and saves the reward model."""
    stages.seed_everything(config.seed)
    policy = from_pretrained(config.normalize_on or config.model)
    model = RewardModel(_trunk(config), dtype=config.precision)
    tokenizer = stages.load_tokenizer(config.model)
    train, test = (
        stages.tell(
            f"reward_model {split}",
            encode_preferences(
                stages.read(config.data, PreferenceRecord, split, config.on_bad, config.data_dir),
                tokenizer,
                max_tokens=config.length,
                on_bad=config.on_bad,
            ),
        )
        for split in ("train", "test")
    )
    buckets = stages.buckets(config.length)
    batches = BatchStream(train, config.batch_size, buckets, seed=config.seed)
    held_out = list(BatchStream(test, config.batch_size, buckets, epochs=1))
    stages.train(
        run, "reward_model", model, RewardModelling(config.centering), batches, held_out, config
    )
    _save_scores(run.path / "reward_model_scores.npz", model, held_out)
    prompts = encode_prompts(train.records, tokenizer, config.max_prompt_tokens, on_bad="skip")
    print("reward_model: normalised on", _normalize(config, model, policy, prompts, tokenizer))
    stages.save_model(run, "reward_model", model, tokenizer)


def _trunk(config):
    trunk = from_pretrained(config.model, dtype=config.precision).backbone
    if config.trunk == "gpt":
        return trunk
    shape = trunk.config
    return BERTConfig(
        shape.vocab_size,
        shape.width,
        shape.num_layers,
        shape.num_heads,
        hidden_dim=shape.hidden_dim,
        max_positions=shape.max_positions,
    )


def _save_scores(file, model, batches):
    """Scores of held-out pairs before normalisation, for the report's accuracy and calibration."""
    score = backend.jit(lambda batch: score_pairs(model, batch), model.variables)
    pairs = [score(batch) for batch in batches]
    chosen, rejected = (np.concatenate([np.asarray(p[side]) for p in pairs]) for side in (0, 1))
    np.savez(file, chosen=chosen, rejected=rejected)


def _normalize(config, model, policy, prompts, tokenizer):
    generator = Generator(
        policy,
        config.max_new_tokens,
        stop_tokens=(tokenizer.eos_id,),
        pad_id=tokenizer.pad_id,
    )
    stream = BatchStream(prompts, config.batch_size, [config.max_prompt_tokens], seed=config.seed)
    answered = (
        RolloutWorker.join(batch, generator(batch.token_ids, batch.mask, seed=index))
        for index, batch in enumerate(itertools.islice(stream, config.normalize_batches))
    )
    return LearnedReward(model).normalize(answered)


def main(config):
    train_reward(config, stages.open_run("reward_model", config))


if __name__ == "__main__":
    launch(RewardConfig, main, __doc__)
