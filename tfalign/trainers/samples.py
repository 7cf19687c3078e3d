"""Sample texts: a few prompts that a policy responds to while it is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfalign.data import ConversationRecord, PromptRecord, encode_prompts
from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.models import CausalLM
from tfalign.text import ASSISTANT
from tfalign.trainers.options import SampleOptions

_COUNT = 4  # of the data's prompts


class SampleTexts:
    """Responses of a policy, as it is when called, to the same prompts and from the same seed.

    Args:
        model: the policy.
        tokenizer: its tokenizer.
        prompts: texts or conversations of the data, of which the first few are used where the options name none.
        options: SampleOptions.
        seed: int, of sampling.

    Attributes:
        prompts: list of str, the prompts as the policy reads them.

    Raises:
        ValueError: if no prompt leaves the model room for a response.
    """

    def __init__(
        self,
        model: CausalLM,
        tokenizer: Any,
        prompts: Iterable[Any],
        options: SampleOptions,
        seed: int,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._temperature, self._seed = options.sample_temperature, seed
        self._generator: Generator | None = None
        given = options.sample_prompts
        longest, most = _limits(model.config.max_positions, options.sample_tokens)
        examples = encode_prompts(
            [PromptRecord(prompt, "A sample's prompt") for prompt in given or prompts],
            tokenizer,
            max_prompt_tokens=longest,
            on_bad="stop" if given else "skip",
        )
        if not len(examples):
            raise ValueError(f"No prompt for samples has {longest} tokens or fewer")
        chosen = np.arange(len(given) or min(_COUNT, len(examples)))
        columns = int(examples.lengths[chosen].max())
        self._batch = examples.batch(chosen, columns)
        self.prompts = self._decoded(self._batch.token_ids, self._batch.mask)
        wanted = options.sample_tokens
        self._max_new_tokens = wanted if most is None else min(wanted, most - columns)

    def __call__(self) -> list[str]:
        """The responses, without special tokens."""
        if self._generator is None:  # not before the model has the adapters it is trained with
            self._generator = self._new_generator()
        batch = self._batch
        generation = self._generator(batch.token_ids, batch.mask, seed=self._seed)
        return self._decoded(generation.tokens, generation.mask)

    def _new_generator(self):
        sampler = Greedy() if self._temperature is None else Sampler(self._temperature)
        tokenizer = self._tokenizer
        return Generator(
            self._model, self._max_new_tokens, sampler, tokenizer.stop_ids, tokenizer.pad_id
        )

    def _decoded(self, token_ids, mask):
        rows = zip(np.asarray(token_ids), np.asarray(mask))
        return self._tokenizer.decode_batch([row[real].tolist() for row, real in rows])


def prompts_of(records: Sequence[Any]) -> list[Any]:
    """What is asked in records, each once, a few times as many as are shown.

    >>> from tfalign.data import CompletionRecord
    >>> prompts_of([CompletionRecord("a", "b"), CompletionRecord("a", "c"), CompletionRecord("d", "e")])
    ['a', 'd']
    """
    asked = dict.fromkeys(map(_asked, records))
    return list(itertools.islice(asked, 16 * _COUNT))


def _asked(record):
    if not isinstance(record, ConversationRecord):
        return record.prompt
    turns = [message.role for message in record.messages]
    return record.messages[: turns.index(ASSISTANT) if ASSISTANT in turns else len(turns)]


def _limits(positions, sample_tokens):
    """(tokens of the longest prompt, positions of the model); None for no limit."""
    if positions is None:
        return None, None
    return max(positions - sample_tokens, positions // 2), positions
