"""Records to token ids, kept flat: one long array and where each example begins in it.

Prompt and completion are tokenised on their own and then joined, so that the boundary between
them is one between tokens. An example begins with one BOS, where the tokenizer has it (or CLS), and
ends with EOS (or SEP), except a prompt, which the policy continues. A prompt that is a conversation,
and the answer to it, are written by the tokenizer's chat template, special tokens included.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfalign.data.records import BadRecord, BadRecordError, BadRecordPolicy, summarise
from tfalign.text import encode_answer, encode_conversation
from tfalign.types import LanguageModelBatch, PreferencePairs, Prompts


class Ragged:
    """Rows of token ids of different lengths.

    Args:
        rows: sequence of sequences of int.

    Attributes:
        tokens: int32[sum of lengths], all rows one after the other.
        starts: int64[N], where each row begins in ``tokens``.
        lengths: int32[N].
    """

    def __init__(self, rows):
        self.lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        ends = np.cumsum(self.lengths, dtype=np.int64)
        self.starts = ends - self.lengths
        self.tokens = np.empty(ends[-1] if len(rows) else 0, np.int32)
        for row, start, end in zip(rows, self.starts, ends):
            self.tokens[start:end] = row

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        """int32[length], one row."""
        return self.tokens[self.starts[index] :][: self.lengths[index]]

    def padded(self, indices, columns, pad_id, left=False):
        """Rows as a rectangle.

        Args:
            indices: int[B], which rows.
            columns: int, at least the longest of them.
            pad_id: int.
            left: bool, padding in front instead of behind.

        Returns:
            (token_ids int32[B, columns], mask bool[B, columns], true at real tokens).

        Raises:
            ValueError: if a row is longer than ``columns``.

        >>> Ragged([[1, 2, 3], [4]]).padded([1, 0], 3, pad_id=0, left=True)[0].tolist()
        [[0, 0, 4], [1, 2, 3]]
        """
        lengths = self.lengths[indices][:, None]
        if lengths.size and lengths.max() > columns:
            raise ValueError(
                f"A row of {lengths.max()} tokens does not fit. Received: columns={columns}"
            )
        mask, places = self.places(indices, columns, left)
        token_ids = np.full(mask.shape, pad_id, np.int32)
        token_ids[mask] = self.tokens[places]
        return token_ids, mask

    def places(self, indices, columns, left=False):
        """Where the tokens of a rectangle stand: (bool[B, columns], true at real tokens; int64[number
        of those], their places in ``tokens``)."""
        lengths = self.lengths[indices][:, None]
        column = np.arange(columns)[None, :] - (columns - lengths if left else 0)
        mask = (column >= 0) & (column < lengths)
        return mask, (self.starts[indices][:, None] + column)[mask]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Encoded records: what ``BatchStream`` makes batches of.

    Attributes:
        records: tuple of the N records encoded, in order.
        bad: tuple of BadRecord, those left out.
        pad_id: int, what stands at padding; the masks, not this id, say where that is.
    """

    records: tuple
    bad: tuple[BadRecord, ...]
    pad_id: int

    def __len__(self):
        return len(self.records)

    def summary(self, shown=3):
        """str, as ``Records.summary``."""
        return summarise(len(self), self.bad, shown)

    @property
    def lengths(self):
        """int32[N], the columns each example needs."""
        raise NotImplementedError

    @property
    def token_counts(self):
        """int[N], the real tokens each example adds to a batch."""
        return self.lengths

    @property
    def arrays(self):
        """tuple of arrays that hold everything a batch is made of."""
        raise NotImplementedError

    def batch(self, indices, columns):
        """The named tuple of ``tfalign.types`` with the examples int[B] as rows."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class LanguageModelExamples(Examples):
    """Texts, prompts with completions, or conversations.

    Attributes:
        tokens: Ragged.
        is_target: bool[sum of lengths], which of ``tokens.tokens`` are to be predicted; the first of
            an example is not, having nothing before it.
    """

    tokens: Ragged
    is_target: np.ndarray

    @property
    def lengths(self):
        return self.tokens.lengths

    @property
    def arrays(self):
        return (self.tokens.tokens, self.tokens.lengths, self.is_target)

    def batch(self, indices, columns):
        token_ids, mask = self.tokens.padded(indices, columns, self.pad_id)
        loss_mask = np.zeros_like(mask)
        loss_mask[mask] = self.is_target[self.tokens.places(indices, columns)[1]]
        return LanguageModelBatch(token_ids, mask, loss_mask, mask.astype(np.int32))


@dataclasses.dataclass(frozen=True)
class PromptExamples(Examples):
    """Prompts for a policy to answer; ``tokens`` is a Ragged."""

    tokens: Ragged

    @property
    def lengths(self):
        return self.tokens.lengths

    @property
    def arrays(self):
        return (self.tokens.tokens, self.tokens.lengths)

    def batch(self, indices, columns):
        padded = self.tokens.padded(indices, columns, self.pad_id, left=True)
        return Prompts(*padded, np.asarray(indices, np.int32))


@dataclasses.dataclass(frozen=True)
class PreferenceExamples(Examples):
    """Prompt and answer, twice.

    Attributes:
        chosen, rejected: Ragged.
        margins: float32[N].
    """

    chosen: Ragged
    rejected: Ragged
    margins: np.ndarray

    @property
    def lengths(self):
        return np.maximum(self.chosen.lengths, self.rejected.lengths)

    @property
    def token_counts(self):
        return self.chosen.lengths + self.rejected.lengths

    @property
    def arrays(self):
        chosen, rejected = self.chosen, self.rejected
        return (chosen.tokens, chosen.lengths, rejected.tokens, rejected.lengths, self.margins)

    def batch(self, indices, columns):
        return PreferencePairs(
            *self.chosen.padded(indices, columns, self.pad_id),
            *self.rejected.padded(indices, columns, self.pad_id),
            self.margins[indices],
        )


def encode_texts(records, tokenizer, max_tokens=None, on_bad="stop"):
    """Documents, each [BOS] text EOS; every token with one before it is a target.

    Args:
        records: sequence of TextRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        max_tokens: int, longest document allowed with BOS and EOS; None for any, which packing
            cuts into rows.
        on_bad: "stop" raises at a document that is too long, "skip" counts it and goes on.

    Returns:
        LanguageModelExamples.

    Raises:
        BadRecordError: as said; the message begins with the record's file and line.
        ValueError: if nothing is left.
    """
    head, tail = sequence_ends(tokenizer)
    rows = [head + ids + tail for ids in tokenizer.encode_batch([r.text for r in records])]
    checks = (("the document", rows, max_tokens),)
    targets = [[True] * len(row) for row in rows]
    return _language_model_examples(records, rows, targets, tokenizer, checks, on_bad)


def encode_completions(records, tokenizer, max_tokens=None, max_prompt_tokens=None, on_bad="stop"):
    """Prompts with answers, [BOS] prompt answer EOS; the answer's tokens and EOS are targets.

    Args:
        records: sequence of CompletionRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        max_tokens: int, longest example allowed with BOS and EOS, None for any.
        max_prompt_tokens: int, longest prompt allowed with BOS, None for any.
        on_bad: "stop" or "skip", as for ``encode_texts``.

    Returns:
        LanguageModelExamples.

    Raises:
        BadRecordError, ValueError: as ``encode_texts``.
    """
    prompts = encode_prompt_ids(records, tokenizer)
    rows = _answered(records, prompts, [r.completion for r in records], tokenizer)
    checks = (
        ("the prompt", prompts, max_prompt_tokens),
        ("the prompt with its completion", rows, max_tokens),
    )
    targets = [
        [column >= len(prompt) for column in range(len(row))] for prompt, row in zip(prompts, rows)
    ]
    return _language_model_examples(records, rows, targets, tokenizer, checks, on_bad)


def encode_conversations(records, tokenizer, max_tokens=None, on_bad="stop"):
    """Whole conversations, as the tokenizer's chat template writes them; what the assistant says is
    a target, with the end of its turns.

    Args:
        records: sequence of ConversationRecord.
        tokenizer: ``tfalign.text.Tokenizer`` with a chat template.
        max_tokens: int, longest conversation allowed, None for any.
        on_bad: "stop" or "skip", as for ``encode_texts``.

    Returns:
        LanguageModelExamples.

    Raises:
        BadRecordError: as ``encode_texts``, and where the assistant says nothing.
        ValueError: as ``encode_texts``, and where the template refuses a conversation.
    """
    encoded = [encode_conversation(tokenizer, record.messages) for record in records]
    rows, targets = [one.token_ids for one in encoded], [one.from_assistant for one in encoded]
    checks = (("the conversation", rows, max_tokens),)
    silent = [None if any(row[1:]) else "the assistant says nothing" for row in targets]
    return _language_model_examples(records, rows, targets, tokenizer, checks, on_bad, silent)


def _language_model_examples(records, rows, targets, tokenizer, checks, on_bad, reasons=None):
    kept, bad = keep_fitting(records, on_bad, checks, reasons)
    is_target = [np.array(targets[index], bool) for index in kept]
    for row in is_target:
        row[0] = False
    return LanguageModelExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        tokens=Ragged([rows[index] for index in kept]),
        is_target=np.concatenate(is_target),
    )


def encode_preferences(records, tokenizer, max_tokens=None, max_prompt_tokens=None, on_bad="stop"):
    """Pairs of [BOS] prompt answer EOS.

    Args:
        records: sequence of PreferenceRecord.
        tokenizer, max_tokens, max_prompt_tokens, on_bad: as for ``encode_completions``; both
            answers must fit.

    Returns:
        PreferenceExamples.

    Raises:
        BadRecordError: also where the two answers have the same tokens.
        ValueError: as ``encode_texts``.
    """
    prompts = encode_prompt_ids(records, tokenizer)
    chosen = _answered(records, prompts, [r.chosen for r in records], tokenizer)
    rejected = _answered(records, prompts, [r.rejected for r in records], tokenizer)
    checks = (
        ("the prompt", prompts, max_prompt_tokens),
        ("the prompt with its chosen answer", chosen, max_tokens),
        ("the prompt with its rejected answer", rejected, max_tokens),
    )
    equal = [
        "chosen and rejected have the same tokens" if one == other else None
        for one, other in zip(chosen, rejected)
    ]
    kept, bad = keep_fitting(records, on_bad, checks, equal)
    return PreferenceExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        chosen=Ragged([chosen[index] for index in kept]),
        rejected=Ragged([rejected[index] for index in kept]),
        margins=np.array([records[index].margin for index in kept], np.float32),
    )


def encode_prompts(records, tokenizer, max_prompt_tokens=None, on_bad="stop"):
    """Prompts, each [BOS] prompt, without an end.

    Args:
        records: sequence of records that have a prompt.
        tokenizer, max_prompt_tokens, on_bad: as for ``encode_completions``.

    Returns:
        PromptExamples.

    Raises:
        BadRecordError, ValueError: as ``encode_texts``.
    """
    rows = encode_prompt_ids(records, tokenizer)
    kept, bad = keep_fitting(records, on_bad, (("the prompt", rows, max_prompt_tokens),))
    return PromptExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        tokens=Ragged([rows[index] for index in kept]),
    )


def encode_prompt_ids(records, tokenizer):
    """list of lists of int, [BOS] prompt each, or a conversation up to the assistant's next turn."""
    head, _ = sequence_ends(tokenizer)
    prompts = [record.prompt for record in records]
    texts = iter(tokenizer.encode_batch(filter(_is_text, prompts)))
    return [
        head + next(texts)
        if _is_text(prompt)
        else encode_conversation(tokenizer, prompt, open_ended=True).token_ids
        for prompt in prompts
    ]


def encode_answers(prompts, answers, tokenizer):
    """What follows the prompts' ids.

    Args:
        prompts: list of str or Conversation.
        answers: list of str, one for each.
        tokenizer: ``tfalign.text.Tokenizer``.

    Returns:
        list of lists of int, answer EOS each; in a conversation as the chat template ends a turn.
    """
    _, tail = sequence_ends(tokenizer)
    after_text = [answer for prompt, answer in zip(prompts, answers) if _is_text(prompt)]
    texts = iter(tokenizer.encode_batch(after_text))
    return [
        next(texts) + tail if _is_text(prompt) else encode_answer(tokenizer, prompt, answer)[1]
        for prompt, answer in zip(prompts, answers)
    ]


def _is_text(prompt):
    return isinstance(prompt, str)


def _answered(records, prompts, answers, tokenizer):
    """list of lists of int, the prompts' ids and the answers'."""
    ids = encode_answers([record.prompt for record in records], answers, tokenizer)
    return [prompt + answer for prompt, answer in zip(prompts, ids)]


def sequence_ends(tokenizer):
    """What stands before and behind an example: ([BOS] or [CLS] or [], [EOS] or [SEP])."""
    head = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.cls_id
    tail = tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.sep_id
    if tail is None:
        raise ValueError(
            "The tokenizer needs an eos (or sep) token, or nothing would teach a model to stop. "
            f"Received roles: {', '.join(tokenizer.special_ids) or 'none'}"
        )
    return ([] if head is None else [head]), [tail]


def padding_id(tokenizer):
    """int, what stands at padding."""
    return 0 if tokenizer.pad_id is None else tokenizer.pad_id


def keep_fitting(records, on_bad, checks, reasons=None):
    """Which encoded records can be used.

    Args:
        records: sequence of records.
        on_bad: "stop" or "skip".
        checks: tuples of what is checked (str), its ids by record, and their limit or None.
        reasons: what else is wrong with each record, str or None; None for nothing.

    Returns:
        (list of the indices of the records that fit, tuple of BadRecord).

    Raises:
        BadRecordError: by choice, at the first that does not fit.
        ValueError: if none does.
    """
    policy = BadRecordPolicy(on_bad)
    kept = []
    for index, record in enumerate(records):
        reason = _reason_against(index, checks) or (reasons and reasons[index])
        if not reason:
            kept.append(index)
        else:
            policy.handle(BadRecordError(record.source or f"record {index}", reason))
    if not kept:
        raise ValueError(f"No record is left after encoding: {summarise(0, policy.bad)}")
    return kept, tuple(policy.bad)


def _reason_against(index, checks):
    for what, rows, limit in checks:
        if not rows[index]:
            return f"{what} has no tokens"
        if limit is not None and len(rows[index]) > limit:
            return f"{what} has {len(rows[index])} tokens, more than {limit}"
    return None
