"""Sources and their targets, encoded for an encoder-decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfalign.data.encoding import keep_fitting, padding_id
from tfalign.data.examples import Examples, Ragged
from tfalign.data.records import CompletionRecord
from tfalign.text import Tokenizer
from tfalign.types import SequencePairs


@dataclasses.dataclass(frozen=True)
class TranslationExamples(Examples):
    """Sources, each source EOS, and targets, each BOS target EOS.

    Attributes:
        source, target: Ragged of N.
    """

    source: Ragged
    target: Ragged

    @property
    def lengths(self) -> np.ndarray:
        return np.maximum(self.source.lengths, self.target.lengths)

    @property
    def token_counts(self) -> np.ndarray:
        return self.source.lengths + self.target.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        source, target = self.source, self.target
        return (source.tokens, source.lengths, target.tokens, target.lengths)

    def batch(self, indices: np.ndarray, columns: int) -> SequencePairs:
        return SequencePairs(
            *self.source.padded(indices, columns, self.pad_id),
            *self.target.padded(indices, columns, self.pad_id),
        )


def encode_translations(
    records: Sequence[CompletionRecord], tokenizer: Tokenizer, max_tokens: int, on_bad: str = "stop"
) -> TranslationExamples:
    """Prompts as sources, completions as targets.

    Args:
        records: sequence of CompletionRecord.
        tokenizer: ``tfalign.text.Tokenizer`` with "bos" and "eos".
        max_tokens: int, of a source or a target with its ends.
        on_bad: "stop" or "skip", as for ``encode_texts``.

    Returns:
        TranslationExamples.

    Raises:
        BadRecordError: naming a record that is too long.
        ValueError: if nothing is left.
    """
    sources = tokenizer.encode_batch([record.prompt for record in records], eos=True)
    targets = tokenizer.encode_batch([record.completion for record in records], bos=True, eos=True)
    checks = (("the source", sources, max_tokens), ("the target", targets, max_tokens))
    kept, bad = keep_fitting(records, on_bad, checks)
    return TranslationExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        source=Ragged([sources[index] for index in kept]),
        target=Ragged([targets[index] for index in kept]),
    )
