"""Reward modelling from preferences: pairs, or rankings of several responses."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from keras import ops

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
from tfalign.files import AnyPath, write_bytes_atomically
from tfalign.functional import losses
from tfalign.models import BERTConfig, CausalLM
from tfalign.objectives import RankedRewardModelling, RewardModelling, score_pairs, score_ranked
from tfalign.pretrained import Pretrained, load
from tfalign.rewards import LearnedReward, RewardModel
from tfalign.trainers.adapters import adapt
from tfalign.trainers.base import opened
from tfalign.trainers.data import buckets, held_out_batches
from tfalign.trainers.options import RewardTrainOptions
from tfalign.trainers.supervised import SupervisedTrainer
from tfalign.training.responses import join
from tfalign.types import PreferencePairs

_RANKING_LOSSES = {
    "plackett_luce": losses.plackett_luce_loss,
    "best_of_k": losses.best_of_k_loss,
    "all_pairs": losses.all_pairs_loss,
}


class RewardTrainer(SupervisedTrainer):
    """Trains a reward model by the Bradley-Terry loss (Stiennon et al. 2020), or one of rankings.

    Its backbone starts from the given language model or encoder. Held-out scores go to
    ``RUN_DIR/reward_model_scores.npz``; then scores are normalised to N(0, 1) on responses of the starting
    policy (of an encoder, on the preferences' own responses).

    Data are records with "prompt", "chosen", "rejected" (and "margin" where there is one), with ``rankings``
    "prompt" and "completions", best first::

        RewardTrainer("runs/b/models/sft", "preferences.jsonl", run_dir="runs/c").train()

    Args: see ``SupervisedTrainer``; options are a ``RewardTrainOptions``.
    """

    options_class = RewardTrainOptions
    default_stage = "reward_model"

    def _build(self, model, data, held_out):
        options = self.options
        self._policy = self._responding(options.normalize_with or model)
        is_loaded = isinstance(model, Pretrained)
        pretrained = opened(model, options.update.precision)
        self.tokenizer = pretrained.tokenizer
        own = pretrained.copy_of_model() if is_loaded else pretrained.model
        self.model = RewardModel(self._backbone(own), dtype=options.update.precision)
        adapt(self.model.backbone, options.lora)
        train, test = self._encoded(data, held_out)
        columns = buckets(options.max_prompt_tokens if options.rankings else options.length)
        rows = options.update.batch_size
        objective = RewardModelling(options.centering)
        if options.rankings:
            objective = RankedRewardModelling(_RANKING_LOSSES[options.rankings])
        self._learn(
            self.model,
            objective,
            BatchStream(train, rows, columns, seed=options.run.seed),
            held_out_batches(test, rows, columns),
            len(train),
        )
        self._records = train.records

    @staticmethod
    def _responding(policy):
        """The model on whose responses scores are normalised."""
        return policy.model if isinstance(policy, Pretrained) else load(policy, dropout=0.0).model

    def _encoded(self, data, held_out):
        """PreferenceExamples, or RankedExamples of rankings."""
        options = self.options
        if not options.rankings:
            limits = {"max_tokens": options.length}
            return self._examples(PreferenceRecord, encode_preferences, data, held_out, **limits)
        if data == "embedded":
            raise ValueError("The embedded data has pairs, no rankings: rankings needs other data")
        limits = {
            "max_prompt_tokens": options.max_prompt_tokens,
            "max_new_tokens": options.max_new_tokens,
        }
        return self._examples(RankedRecord, encode_ranked, data, held_out, **limits)

    def _backbone(self, model):
        """The given model's backbone, or the configuration of a BERT of its size."""
        backbone = getattr(model, "backbone", model)
        if self.options.backbone == "model":
            return backbone
        shape = backbone.config
        return BERTConfig(
            shape.vocab_size,
            shape.width,
            shape.num_layers,
            shape.num_heads,
            hidden_dim=shape.hidden_dim,
            max_positions=shape.max_positions,
        )

    def save(self) -> None:
        if self.held_out:
            save_scores(self.run.file("reward_model_scores.npz"), self.model, self.held_out)
        before = LearnedReward(self.model).normalize(self._samples())
        print("reward_model: normalised on", before)
        entries = {"score_mean": before["mean"], "score_std": before["std"]}  # as they were
        self._save(self.model, self.options.lora, entries=entries)

    def _samples(self):
        """What scores are normalised on: (token_ids, padding_mask) in batches."""
        if isinstance(self._policy, CausalLM):
            return self._answered(self._policy)
        count = self.options.normalize_batches  # an encoder cannot answer
        return both_sides(itertools.islice(self.batches, count))

    def _answered(self, policy):
        """Prompts with responses of the policy."""
        options = self.options
        limits = {"max_prompt_tokens": options.max_prompt_tokens, "on_bad": "skip"}
        prompts = encode_prompts(self._records, self.tokenizer, **limits)
        generator = Generator(
            policy,
            options.max_new_tokens,
            stop_tokens=self.tokenizer.stop_ids,
            pad_id=self.tokenizer.pad_id,
        )
        columns, seed = [options.max_prompt_tokens], options.run.seed
        stream = BatchStream(prompts, options.update.batch_size, columns, seed=seed)
        for index, batch in enumerate(itertools.islice(stream, options.normalize_batches)):
            yield join(batch, generator(batch.token_ids, batch.mask, seed=index))


def save_scores(file: AnyPath, model: RewardModel, batches: Iterable[Any]) -> None:
    """Writes scores of held-out pairs before normalisation, for the report's accuracy and calibration; of a
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
    pairs = losses.ranked_pairs(present)
    higher, lower = ops.expand_dims(scores, -1), ops.expand_dims(scores, -2)
    return ops.broadcast_to(higher, pairs.shape), ops.broadcast_to(lower, pairs.shape), pairs


def both_sides(batches: Iterable[PreferencePairs]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What was preferred and what not: (token_ids, padding_mask) in batches."""
    for batch in batches:
        yield batch.chosen_ids, batch.chosen_mask
        yield batch.rejected_ids, batch.rejected_mask
