"""Preference training: DPO, or any loss that needs no reward model."""

from __future__ import annotations

import dataclasses

from tfalign.data import (
    BatchStream,
    LabelledRecord,
    PreferenceRecord,
    encode_labelled,
    encode_ranked,
    unpaired,
)
from tfalign.pretrained import load
from tfalign.trainers.adapters import adapt
from tfalign.trainers.base import opened
from tfalign.trainers.data import buckets, encoded, held_out_batches, split_records
from tfalign.trainers.options import PreferenceOptions
from tfalign.trainers.samples import prompts_of
from tfalign.trainers.supervised import SupervisedTrainer
from tfalign.training.packing import check_packs, packed_responses
from tfalign.training.preferences import PreferenceLoss, preference_loss
from tfalign.training.reference import FrozenReference


class PreferenceTrainer(SupervisedTrainer):
    """Trains a policy on preferences directly; the reference's log-probs are computed once and kept with the run.

    Data are records with "prompt", "chosen" and "rejected", with ``unpaired`` "prompt", "completion" and
    "label"::

        PreferenceTrainer("runs/b/models/sft", "preferences.jsonl", loss="dpo", run_dir="runs/p").train()

    Args: see ``SupervisedTrainer``; options are a ``PreferenceOptions``.
    """

    options_class = PreferenceOptions

    @property
    def default_stage(self) -> str:
        return self.options.loss

    def _build(self, model, data, held_out):
        options = self.options
        self.loss = chosen_loss(options)
        self.pretrained = opened(model, options.update.precision, dropout=0.0)
        self.tokenizer = self.pretrained.tokenizer
        self._examples_of_pairs = self._encoded(data, held_out)
        train, test = self._examples_of_pairs
        self._check_held_out(test)
        shown = prompts_of((test or train).records)
        self._sample(self.pretrained.model, shown, options.evaluation)
        self._columns = buckets(options.max_prompt_tokens)

    def _prepare(self):
        options, columns = self.options, self._columns
        train, test = self._examples_of_pairs
        if self.loss.objective.needs_reference:
            reference = FrozenReference(self._load_reference, options.update.batch_size, columns)
            train = reference(train, self.run.file(f"{self.stage}_reference_train.npz"))
            if test is not None:
                test = reference(test, self.run.file(f"{self.stage}_reference_test.npz"))
            del reference
        model, rows = self.pretrained.model, options.update.batch_size
        adapt(model, options.lora)
        if options.packed:
            check_packs(model)
        self._learn(
            model,
            self.loss.objective,
            BatchStream(train, rows, columns, seed=options.run.seed),
            held_out_batches(test, rows, columns),
            len(train),
        )

    def _arranged(self, batch):
        return packed_responses(batch, self.learner.parts) if self.options.packed else batch

    def _load_reference(self):
        """The reference; by default the policy itself, which has learned nothing yet."""
        if self.options.reference:
            return load(self.options.reference, dtype=self.options.update.precision).model
        return self.pretrained.model

    def _encoded(self, data, held_out):
        """RankedExamples, or LabelledExamples for KTO, for which pairs are taken apart."""
        options, needs_pairs = self.options, self.loss.needs_pairs
        kind = LabelledRecord if options.unpaired else PreferenceRecord
        splits = split_records(data, kind, options.data_options, held_out)
        if not needs_pairs and not options.unpaired:
            splits = [unpaired(records) for records in splits]
        encode = encode_ranked if needs_pairs else encode_labelled
        return [
            encoded(
                f"{self.stage} {split}",
                encode,
                records,
                tokenizer=self.tokenizer,
                max_prompt_tokens=options.max_prompt_tokens,
                max_new_tokens=options.max_new_tokens,
                on_bad=options.data_options.on_bad,
            )
            for split, records in zip(("train", "test"), splits)
        ]

    def save(self) -> None:
        self._save(self.pretrained.model, self.options.lora)
        self.pretrained.directory = self.model_directory


def chosen_loss(options: PreferenceOptions) -> PreferenceLoss:
    """The loss that options name, with the numbers they give instead of its paper's.

    Raises:
        ValueError: if an option is given that the loss has no use for.
    """
    numbers = dataclasses.asdict(options.loss_options)
    given = {name: value for name, value in numbers.items() if value is not None}
    loss = preference_loss(options.loss, **given)
    if options.unpaired and loss.needs_pairs:
        raise ValueError(f"loss={options.loss} learns from pairs. Received: unpaired=True")
    return loss
