"""What a model writes for held-out briefs, and how far it is from the model that it started as."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfalign.applications.content.measures import measure
from tfalign.applications.content.tasks import Task
from tfalign.data import PromptRecord, encode_prompts
from tfalign.decoding import Greedy, Sampler, generate
from tfalign.decoding.constraints import Constraint
from tfalign.functional.log_probs import token_log_probs
from tfalign.models.actor_critic import before_response
from tfalign.pretrained import Pretrained
from tfalign.training.responses import join
from tfalign.types import Prompts


class Written(NamedTuple):
    """Texts for the held-out briefs of a task."""

    texts: list[list[str]]  # of each brief
    measures: dict[str, float]  # those of ``measures.measure``, "ended" and "kl"


class Writer:
    """Writes texts for the held-out briefs of a task.

    Args:
        task: Task.
        reference: Pretrained, the model that "kl" is measured to.
        max_prompt_tokens, max_new_tokens: maximum lengths, tokens.

    Attributes:
        task: with the held-out briefs whose prompts are not too long.
    """

    def __init__(
        self, task: Task, reference: Pretrained, max_prompt_tokens: int, max_new_tokens: int
    ) -> None:
        self.reference = reference
        self.max_new_tokens = max_new_tokens
        records = [PromptRecord(one.prompt) for one in task.test]
        examples = encode_prompts(records, reference.tokenizer, max_prompt_tokens, "skip")
        fitting = {record.prompt for record in examples.records}
        self.task = task._replace(test=[one for one in task.test if one.prompt in fitting])
        self.prompts = examples.batch(np.arange(len(examples)), max_prompt_tokens)

    def __call__(
        self,
        policy: Pretrained,
        texts_each: int = 1,
        greedy: bool = False,
        constraint: Constraint | None = None,
        seed: int = 1,
    ) -> Written:
        """Writes and measures.

        Args:
            policy: who writes.
            texts_each: texts for every brief.
            greedy: the likeliest tokens instead of sampled ones.
            constraint: which tokens may come next; None for all. "kl" counts what it costs too: it is that of the
                restricted distribution to the reference's own.
            seed: int in [0, 2**32).

        Returns:
            Written.
        """
        rows = np.repeat(np.arange(len(self.task.test)), texts_each)
        prompts = Prompts(*(np.asarray(x)[rows] for x in self.prompts[:2]))
        tokenizer = policy.tokenizer
        generation = generate(
            policy.model,
            *prompts,
            max_new_tokens=self.max_new_tokens,
            sampler=Greedy() if greedy else Sampler(),
            seed=seed,
            stop_tokens=tokenizer.stop_ids,
            pad_id=tokenizer.pad_id,
            constraint=constraint,
        )
        pairs = zip(np.asarray(generation.tokens), np.asarray(generation.mask))
        decoded = tokenizer.decode_batch([row[mask].tolist() for row, mask in pairs])
        texts = [[] for _ in self.task.test]
        for row, text in zip(rows, decoded):
            texts[row].append(text.strip())
        own = {"ended": self._ended(generation, tokenizer)}
        if not greedy:
            own["kl"] = self._kl(prompts, generation)
        return Written(texts, measure(self.task, texts) | own)

    def _ended(self, generation, tokenizer):
        """Fraction of the texts that ended with a stop token."""
        stops = np.isin(np.asarray(generation.tokens), tokenizer.stop_ids)
        return float((stops & np.asarray(generation.mask)).any(axis=1).mean())

    def _kl(self, prompts, generation) -> float:
        """Mean KL of the texts to the reference, nats per text."""
        token_ids, padding_mask = join(prompts, generation)
        model: Any = self.reference.model
        hidden = before_response(
            model.backbone, token_ids, padding_mask, self.max_new_tokens, training=False
        )
        tokens, mask = np.asarray(generation.tokens), np.asarray(generation.mask)
        reference = np.asarray(token_log_probs(model.logits(hidden), tokens))
        ratios = np.where(mask, np.asarray(generation.log_probs) - reference, 0.0)
        return float(ratios.sum(axis=1).mean())
