"""Knowledge distillation: a student learns what a teacher would say, on given texts, on the teacher's or on its own."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfalign.data import (
    BatchStream,
    CompletionRecord,
    ConversationRecord,
    PromptRecord,
    encode_completions,
    encode_conversations,
    encode_prompts,
)
from tfalign.decoding import Generator, Sampler
from tfalign.functional.kl import full_jsd, full_kl, full_kl_from
from tfalign.objectives import Distillation
from tfalign.pretrained import Pretrained
from tfalign.trainers.adapters import adapt
from tfalign.trainers.base import name_of, opened
from tfalign.trainers.data import Data, buckets, held_out_batches
from tfalign.trainers.options import DistillOptions
from tfalign.trainers.samples import prompts_of
from tfalign.trainers.supervised import SupervisedTrainer
from tfalign.training.distillation import Teacher, response_texts
from tfalign.training.on_policy import rollout_seed

_DIVERGENCES = {"forward_kl": full_kl_from, "reverse_kl": full_kl, "jsd": full_jsd}


class DistillationTrainer(SupervisedTrainer):
    """Distillation of a teacher into a smaller model with the same tokenizer.

    With ``responses="data"`` at the data's completions (logit distillation), with "teacher" at responses that the
    teacher samples (sequence-level, Kim and Rush 2016, with its whole distribution), with "student" at the student's own
    (on-policy, GKD, Agarwal et al. 2024); the last two take prompts::

        DistillationTrainer("runs/s/models/sft", "runs/t/models/ppo", "sft.jsonl", run_dir="runs/d").train()

    Args:
        model: the student, a directory, or what ``tfalign.load`` returned, which is trained itself.
        teacher: in either form.
        data: see ``SupervisedTrainer``; options are a ``DistillOptions``.
        given: what ``SupervisedTrainer`` takes besides.

    Raises:
        ValueError: if the teacher has another vocabulary than the student.
    """

    options_class = DistillOptions
    default_stage = "distill"

    def __init__(
        self,
        model: str | os.PathLike | Pretrained,
        teacher: str | os.PathLike | Pretrained,
        data: Data,
        **given: Any,
    ) -> None:
        self._given_teacher = teacher
        super().__init__(model, data, **given)

    def recorded(self) -> dict[str, Any]:
        teacher = {"teacher": name_of(self._given_teacher)}
        return {stage: teacher | values for stage, values in super().recorded().items()}

    def _build(self, model, data, held_out):
        options = self.options
        self.pretrained = opened(model, options.update.precision)
        self.tokenizer = self.pretrained.tokenizer
        teacher = opened(self._given_teacher, None)
        _check_same_tokens(self.pretrained, teacher)
        self._teacher_model, self._teacher = teacher.model, Teacher(teacher.model)
        adapt(self.pretrained.model, options.lora)
        train, test = self._encoded(data, held_out)
        self._sample(self.pretrained.model, prompts_of((test or train).records), options.evaluation)
        columns, rows = self._columns, options.update.batch_size
        self._learn(
            self.pretrained.model,
            Distillation(self._divergence(), options.temperature),
            BatchStream(train, rows, columns, seed=options.run.seed),
            held_out_batches(test, rows, columns),
            len(train),
        )
        evaluate = self.evaluate
        self.evaluate = lambda batches: evaluate(self._with_teacher(batches))

    def _encoded(self, data, held_out):
        """Training and held-out examples: texts, or prompts that are responded to."""
        options = self.options
        if options.responses != "data":
            self._columns = buckets(options.max_prompt_tokens)
            limits = {"max_prompt_tokens": options.max_prompt_tokens}
            return self._examples(PromptRecord, encode_prompts, data, held_out, **limits)
        self._columns = buckets(options.length)
        kind, encode = CompletionRecord, encode_completions
        if options.conversations:
            kind, encode = ConversationRecord, encode_conversations
        return self._examples(kind, encode, data, held_out, max_tokens=options.length)

    def _divergence(self):
        options = self.options
        if options.divergence == "jsd":
            return functools.partial(full_jsd, beta=options.jsd_beta)
        return _DIVERGENCES[options.divergence]

    def _update(self, step):
        batch = self._distilled(next(self.batches), rollout_seed(self.options.run.seed, step))
        return self.learner.update(batch) | self._evaluated(step)

    def _with_teacher(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Held-out batches, responded to from one seed."""
        return (self._distilled(batch, self.options.run.seed) for batch in batches)

    def _distilled(self, batch, seed):
        if self.options.responses != "data":
            generation = self._generator(batch.token_ids, batch.mask, seed=seed)
            batch = response_texts(batch, generation)
        return self._teacher(batch)

    @functools.cached_property
    def _generator(self):
        """Who responds; made when the student has the adapters it is trained with."""
        options, tokenizer = self.options, self.tokenizer
        is_own = options.responses == "student"
        model = self.pretrained.model if is_own else self._teacher_model
        return Generator(
            model, options.max_new_tokens, Sampler(), tokenizer.stop_ids, tokenizer.pad_id
        )

    def save(self) -> None:
        self._save(self.pretrained.model, self.options.lora)
        self.pretrained.directory = self.model_directory


def _check_same_tokens(student, teacher):
    """Raises a ValueError unless a token means the same to both."""
    ours, theirs = student.tokenizer, teacher.tokenizer
    sizes = [one.model.config.vocab_size for one in (student, teacher)]
    same = sizes[0] == sizes[1] and ours.vocab_size == theirs.vocab_size
    ids = np.arange(min(ours.vocab_size, theirs.vocab_size)).tolist()
    if not same or [*map(ours.token, ids)] != [*map(theirs.token, ids)]:
        raise ValueError(
            "Student and teacher must have the same tokens. "
            f"Received: vocabularies of {sizes[0]} and {sizes[1]} tokens{'' if not same else ', spelled differently'}"
        )
