"""Supervised fine-tuning of a language model on prompts with completions, or on conversations."""

from __future__ import annotations

from tfalign.data import (
    BatchStream,
    CompletionRecord,
    ConversationRecord,
    encode_completions,
    encode_conversations,
)
from tfalign.objectives import LanguageModelling
from tfalign.trainers.adapters import adapt
from tfalign.trainers.base import opened
from tfalign.trainers.data import buckets, held_out_batches
from tfalign.trainers.options import FineTuneOptions
from tfalign.trainers.samples import prompts_of
from tfalign.trainers.supervised import SupervisedTrainer
from tfalign.training.packing import check_keeps_apart


class FineTuner(SupervisedTrainer):
    """Supervised fine-tuning: the loss is on completions alone, with ``conversations`` on all that the
    assistant says.

    Data are records with "prompt" and "completion", with ``conversations`` records with "messages"::

        FineTuner("runs/a/models/pretrain", "sft.jsonl", run_dir="runs/b", steps=250).train()

    Args: see ``SupervisedTrainer``; options are a ``FineTuneOptions``.
    """

    options_class = FineTuneOptions
    default_stage = "sft"

    def _build(self, model, data, held_out):
        options = self.options
        self.pretrained = opened(model, options.update.precision)
        self.tokenizer = self.pretrained.tokenizer
        adapt(self.pretrained.model, options.lora)
        kind, encode = CompletionRecord, encode_completions
        if options.conversations:
            kind, encode = ConversationRecord, encode_conversations
        train, test = self._examples(kind, encode, data, held_out, max_tokens=options.length)
        shown = prompts_of((test or train).records)
        self._sample(self.pretrained.model, shown, options.evaluation)
        columns, rows = buckets(options.length), options.update.batch_size
        batches = self._batches(train)
        self._batches_per_epoch = batches.num_batches
        self._learn(
            self.pretrained.model,
            LanguageModelling(options.chunk),
            batches,
            held_out_batches(test, rows, columns),
            len(train),
        )

    def _batches(self, train):
        options = self.options
        layout = {"bucket_lengths": buckets(options.length)}
        if options.packed:
            check_keeps_apart(self.pretrained.model)
            layout = {"packed_length": options.length}
        return BatchStream(train, options.update.batch_size, seed=options.run.seed, **layout)

    @property
    def num_steps(self) -> int:
        run = self.options.run
        if run.epochs is None or not self.options.packed:
            return super().num_steps
        return max(1, round(run.epochs * self._batches_per_epoch))  # of rows, not of examples

    def save(self) -> None:
        self._save(self.pretrained.model, self.options.lora)
        self.pretrained.directory = self.model_directory
