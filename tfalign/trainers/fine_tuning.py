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
        self._learn(
            self.pretrained.model,
            LanguageModelling(options.chunk),
            BatchStream(train, rows, columns, seed=options.run.seed),
            held_out_batches(test, rows, columns),
            len(train),
        )

    def save(self) -> None:
        self._save(self.pretrained.model, self.options.lora)
        self.pretrained.directory = self.model_directory
