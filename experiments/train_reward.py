"""Learns a reward model from preferences.

    python -m experiments.train_reward --run_dir=runs/reward --model=runs/sft/models/sft
    python -m experiments.train_reward --model=DIR --data=mine.jsonl --run_dir=runs/mine_reward
    python -m experiments.train_reward --data=anthropic:helpful-base.jsonl.gz --on_bad=skip ...
    python -m experiments.train_reward --data=ranked.jsonl --rankings=plackett_luce ...

The second reads JSON lines with "prompt", "chosen" and "rejected", and "margin" where there is one; the
fourth "prompt" and "completions", best first. The trunk starts from the given
language model, or (``--trunk=bert``) from a fresh BERT of its size; Bradley-Terry loss (Stiennon
et al. 2020). Held-out scores go to RUN_DIR/reward_model_scores.npz; then the scores are normalised
to N(0, 1) on answers that ``--normalize_on`` gives to held-in prompts; the model goes to
RUN_DIR/models/reward_model, whose config.json has the mean and deviation before. ``--model`` may also be an
encoder, such as a BERT: its pooled first token is scored, and the preferences' own answers are
normalised on. About a minute on two CPU cores for the embedded data.
"""

from __future__ import annotations

import io
import itertools

import numpy as np
from keras import ops

from experiments import adapters, stages
from experiments.launch import launch
from tfalign import backend
from tfalign.data import (
    BatchStream,
    PreferenceRecord,
    RankedRecord,
    encode_preferences,
    encode_prompts,
    encode_ranked,
)
from tfalign.decoding import Generator
from tfalign.files import write_bytes_atomically
from tfalign.functional.losses import (
    all_pairs_loss,
    best_of_k_loss,
    plackett_luce_loss,
    ranked_pairs,
)
from tfalign.models import BERTConfig, CausalLM, from_pretrained
from tfalign.objectives import RankedRewardModelling, RewardModelling, score_pairs, score_ranked
from tfalign.options import option, option_record
from tfalign.rewards import LearnedReward, RewardModel
from tfalign.training.responses import join
from tfalign.types import PreferencePairs

_RANKING_LOSSES = {
    "plackett_luce": plackett_luce_loss,
    "best_of_k": best_of_k_loss,
    "all_pairs": all_pairs_loss,
}


@option_record
class RewardConfig(stages.SupervisedConfig):
    run_dir: str = option("runs/reward", "where the run lives")
    model: str = option(
        "runs/sft/models/sft", "language model or encoder whose trunk and tokenizer are used"
    )
    trunk: str = option(
        "gpt", "the given model's trunk, or a fresh BERT of its size", ["gpt", "bert"]
    )
    normalize_on: str = option("", "policy whose answers get scores N(0, 1); --model where empty")
    data: str = option(
        stages.EMBEDDED,
        '"embedded", FILE.jsonl with "prompt", "chosen" and "rejected", anthropic:FILE, '
        "tfds:NAME:SPLIT",
    )
    length: int = option(96, "longest prompt with answer, tokens", at_least=1)
    max_new_tokens: int = option(48, "of the answers the scores are normalised on", at_least=1)
    max_prompt_tokens: int = option(48, "of their prompts", at_least=1)
    centering: float = option(0.0, "coefficient of (chosen + rejected)^2", at_least=0)
    lora: adapters.AdapterConfig = option(adapters.AdapterConfig(), "low-rank adapters")
    rankings: str = option(
        "", "records are rankings of several answers: the loss of those", ["", *_RANKING_LOSSES]
    )
    steps: int = option(300, "updates", at_least=1)
    learning_rate: float = option(3e-4, "at its peak", above=0)
    normalize_batches: int = option(
        8, "batches of answers the scores are normalised on", at_least=1
    )

    def __post_init__(self):
        super().__post_init__()
        if self.rankings and self.data == stages.EMBEDDED:
            raise ValueError("The embedded data has pairs, no rankings: --rankings needs --data")
        if self.rankings and self.centering:
            raise ValueError(f"--centering is of pairs. Received: rankings={self.rankings}")


def train_reward(config, run):
    """Trains, evaluates, normalises and saves the reward model."""
    stages.seed_everything(config.seed)
    policy = from_pretrained(config.normalize_on or config.model, dropout=0.0)
    model = RewardModel(_trunk(config), dtype=config.precision)
    adapters.adapt(model.backbone, config.lora)
    tokenizer = stages.load_tokenizer(config.model)
    train, test = (
        stages.tell(f"reward_model {split}", _encoded(config, tokenizer, split))
        for split in ("train", "test")
    )
    columns = stages.buckets(config.max_prompt_tokens if config.rankings else config.length)
    batches = BatchStream(train, config.batch_size, columns, seed=config.seed)
    held_out = list(BatchStream(test, min(config.batch_size, len(test)), columns, epochs=1))
    objective = RewardModelling(config.centering)
    if config.rankings:
        objective = RankedRewardModelling(_RANKING_LOSSES[config.rankings])
    stages.train(run, "reward_model", model, objective, batches, held_out, config)
    _save_scores(run.file("reward_model_scores.npz"), model, held_out)
    if isinstance(policy, CausalLM):
        prompts = encode_prompts(train.records, tokenizer, config.max_prompt_tokens, on_bad="skip")
        samples = _answered(config, policy, prompts, tokenizer)
    else:  # an encoder cannot answer
        samples = _both_sides(itertools.islice(batches, config.normalize_batches))
    before = LearnedReward(model).normalize(samples)
    print("reward_model: normalised on", before)
    entries = {"score_mean": before["mean"], "score_std": before["std"]}  # as they were
    adapters.save_model(
        run, "reward_model", model, tokenizer, config.lora, config.model, entries=entries
    )


def _encoded(config, tokenizer, split):
    """PreferenceExamples, or RankedExamples with --rankings."""
    kind = RankedRecord if config.rankings else PreferenceRecord
    records = stages.read(config.data, kind, split, config.on_bad, config.data_dir)
    if config.rankings:
        limits = config.max_prompt_tokens, config.max_new_tokens
        return encode_ranked(records, tokenizer, *limits, on_bad=config.on_bad)
    return encode_preferences(records, tokenizer, max_tokens=config.length, on_bad=config.on_bad)


def _trunk(config):
    model = from_pretrained(config.model, dtype=config.precision)
    trunk = getattr(model, "backbone", model)
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
    """Scores of held-out pairs before normalisation, for the report's accuracy and calibration; of a
    ranking all its pairs."""
    score = backend.jit(lambda batch: _scored_pairs(model, batch), model.variables)
    chosen, rejected = [], []
    for batch in batches:
        higher, lower, count = (np.asarray(x) for x in score(batch))
        chosen.append(higher[count])
        rejected.append(lower[count])
    if backend.is_chief():
        content = io.BytesIO()
        np.savez(content, chosen=np.concatenate(chosen), rejected=np.concatenate(rejected))
        write_bytes_atomically(file, content.getvalue())


def _scored_pairs(model, batch):
    """(chosen float32[...], rejected float32[...], bool[...] which of them are pairs)."""
    if isinstance(batch, PreferencePairs):
        chosen, rejected = score_pairs(model, batch)
        return chosen, rejected, ops.ones_like(chosen, "bool")
    scores, present = score_ranked(model, batch)
    pairs = ranked_pairs(present)
    higher, lower = ops.expand_dims(scores, -1), ops.expand_dims(scores, -2)
    return ops.broadcast_to(higher, pairs.shape), ops.broadcast_to(lower, pairs.shape), pairs


def _answered(config, policy, prompts, tokenizer):
    """Prompts with answers of the policy: (token_ids, padding_mask, response_mask) in batches."""
    generator = Generator(
        policy,
        config.max_new_tokens,
        stop_tokens=tokenizer.stop_ids,
        pad_id=tokenizer.pad_id,
    )
    stream = BatchStream(prompts, config.batch_size, [config.max_prompt_tokens], seed=config.seed)
    for index, batch in enumerate(itertools.islice(stream, config.normalize_batches)):
        yield join(batch, generator(batch.token_ids, batch.mask, seed=index))


def _both_sides(batches):
    """What was preferred and what not: (token_ids, padding_mask) in batches."""
    for batch in batches:
        yield batch.chosen_ids, batch.chosen_mask
        yield batch.rejected_ids, batch.rejected_mask


def main(config):
    train_reward(config, stages.open_run("reward_model", config))


if __name__ == "__main__":
    launch(RewardConfig, main, __doc__)
