"""Answers that were judged, encoded: ranked, liked or not, right or wrong step by step.

Ranked and labelled answers are laid out as rollouts are: prompts left-padded in the columns of their
bucket, responses behind them in columns of their own, as many as the longest needs. So logits need
be computed for responses alone, and data and rollouts can be learned from alike.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from tfalign.data.encoding import (
    encode_answers,
    encode_prompt_ids,
    keep_fitting,
    padding_id,
    sequence_ends,
)
from tfalign.data.examples import Examples, Ragged
from tfalign.data.records import LabelledRecord, PreferenceRecord, RankedRecord, StepsRecord
from tfalign.text import Tokenizer
from tfalign.types import LabelledResponses, LabelledSteps, RankedResponses


@dataclasses.dataclass(frozen=True)
class RankedExamples(Examples):
    """Prompts with K responses each, the best first; a bucket's length is that of its prompts.

    Attributes:
        prompts: Ragged of N.
        responses: Ragged of N * K, those of a prompt next to each other, empty where it has fewer.
        ref_log_probs: float32[N, K], the reference's log-prob of each; 0 until it is known, see
            ``training.reference``.
    """

    prompts: Ragged
    responses: Ragged
    ref_log_probs: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.prompts.lengths

    @property
    def token_counts(self) -> np.ndarray:
        num_responses = self.ref_log_probs.shape[1]
        of_responses = self.responses.lengths.reshape(-1, num_responses).sum(axis=1)
        return num_responses * self.prompts.lengths + of_responses

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        prompts, responses = self.prompts, self.responses
        return (
            prompts.tokens,
            prompts.lengths,
            responses.tokens,
            responses.lengths,
            self.ref_log_probs,
        )

    def batch(self, indices: np.ndarray, columns: int) -> RankedResponses:
        indices = np.asarray(indices)
        num_responses = self.ref_log_probs.shape[1]
        rows = (num_responses * indices[:, None] + np.arange(num_responses)).ravel()
        prompts = self.prompts.padded(np.repeat(indices, num_responses), columns, self.pad_id, True)
        responses = self.responses.padded(rows, int(self.responses.lengths.max()), self.pad_id)
        token_ids, padding_mask, response_mask = (
            x.reshape(len(indices), num_responses, -1)
            for x in (*map(np.hstack, zip(prompts, responses)), responses[1])
        )
        return RankedResponses(token_ids, padding_mask, response_mask, self.ref_log_probs[indices])


@dataclasses.dataclass(frozen=True)
class LabelledExamples(RankedExamples):
    """Prompts with a response that was liked or not, and behind it the response to another prompt.

    Attributes:
        desirable: bool[N].
    """

    desirable: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (*super().arrays, self.desirable)

    def batch(self, indices: np.ndarray, columns: int) -> LabelledResponses:
        responses = super().batch(indices, columns)._asdict()
        del responses["condition"], responses["packed"]
        return LabelledResponses(**responses, desirable=self.desirable[indices])


@dataclasses.dataclass(frozen=True)
class StepExamples(Examples):
    """Prompt and answer, and where the answer's steps end.

    Attributes:
        tokens: Ragged of N.
        step_ends: Ragged of N, the column of each step's last token.
        labels: Ragged of N, 1 for each step that is right.
    """

    tokens: Ragged
    step_ends: Ragged
    labels: Ragged

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.tokens.tokens, self.tokens.lengths, self.step_ends.tokens, self.labels.tokens)

    def batch(self, indices: np.ndarray, columns: int) -> LabelledSteps:
        token_ids, mask = self.tokens.padded(indices, columns, self.pad_id)
        step_ends, labels = np.zeros((2, *mask.shape), bool)
        for row, index in enumerate(indices):
            step_ends[row, self.step_ends[index]] = True
            labels[row, self.step_ends[index]] = self.labels[index] == 1
        return LabelledSteps(token_ids, mask, step_ends, labels)


def encode_ranked(
    records: Sequence[PreferenceRecord | RankedRecord],
    tokenizer: Tokenizer,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    on_bad: str = "stop",
) -> RankedExamples:
    """Answers to compare, best first: [BOS] prompt, and answer EOS each.

    Args:
        records: sequence of PreferenceRecord or RankedRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        max_prompt_tokens: int, longest prompt allowed with BOS, None for any.
        max_new_tokens: int, longest answer allowed with EOS, None for any.
        on_bad: "stop" raises at a record that does not fit, "skip" counts it and goes on.

    Returns:
        RankedExamples; K is the most answers that a prompt has.

    Raises:
        BadRecordError: as said, and where two answers have the same tokens; the message begins with
            the record's file and line.
        ValueError: if nothing is left.
    """
    prompts = encode_prompt_ids(records, tokenizer)
    texts = [_answers(record) for record in records]
    rows = [row for row, of_record in enumerate(texts) for _ in of_record]
    flat = encode_answers(
        [records[row] for row in rows],
        [prompts[row] for row in rows],
        [text for of_record in texts for text in of_record],
        tokenizer,
    )
    flat = iter(flat)
    answers = [[next(flat) for _ in of_record] for of_record in texts]
    checks = (
        ("the prompt", prompts, max_prompt_tokens),
        ("the longest answer", [max(ids, key=len) for ids in answers], max_new_tokens),
    )
    equal = [
        "two answers have the same tokens" if len(set(map(tuple, ids))) < len(ids) else None
        for ids in answers
    ]
    kept, bad = keep_fitting(records, on_bad, checks, equal)
    most = max(len(answers[index]) for index in kept)
    filled = [answers[index] + [[]] * (most - len(answers[index])) for index in kept]
    return RankedExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        prompts=Ragged([prompts[index] for index in kept]),
        responses=Ragged([ids for of_record in filled for ids in of_record]),
        ref_log_probs=np.zeros((len(kept), most), np.float32),
    )


def encode_labelled(
    records: Sequence[LabelledRecord],
    tokenizer: Tokenizer,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    on_bad: str = "stop",
) -> LabelledExamples:
    """Single answers, liked or not: [BOS] prompt, answer EOS; beside each the answer of a record with
    another prompt, the next one in an order by hash, so that liked and disliked ones both come up.

    Args:
        records: sequence of LabelledRecord.
        tokenizer, max_prompt_tokens, max_new_tokens, on_bad: as for ``encode_ranked``.

    Returns:
        LabelledExamples.

    Raises:
        BadRecordError: as ``encode_ranked``.
        ValueError: if nothing is left, or all prompts are equal.
    """
    prompts = encode_prompt_ids(records, tokenizer)
    answers = encode_answers(
        records,
        prompts,
        [record.completion for record in records],
        tokenizer,
    )
    checks = (
        ("the prompt", prompts, max_prompt_tokens),
        ("the answer", answers, max_new_tokens),
    )
    kept, bad = keep_fitting(records, on_bad, checks)
    prompts, answers = ([rows[index] for index in kept] for rows in (prompts, answers))
    others = _of_other_prompts(prompts, answers)
    return LabelledExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        prompts=Ragged(prompts),
        responses=Ragged(
            [ids for own, other in zip(answers, others) for ids in (own, answers[other])]
        ),
        ref_log_probs=np.zeros((len(kept), 2), np.float32),
        desirable=np.array([records[index].label for index in kept], bool),
    )


def encode_steps(
    records: Sequence[StepsRecord],
    tokenizer: Tokenizer,
    separator: str = "\n",
    max_tokens: int | None = None,
    on_bad: str = "stop",
) -> StepExamples:
    """Answers in steps: [BOS] prompt step separator step ... step EOS.

    A step ends with the separator behind it, the last one with EOS.

    Args:
        records: sequence of StepsRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        separator: str, one token.
        max_tokens: int, longest example allowed with BOS and EOS, None for any.
        on_bad: as for ``encode_ranked``.

    Returns:
        StepExamples.

    Raises:
        BadRecordError: as said; a step that holds the separator itself is bad too.
        ValueError: if nothing is left, or the separator is not one token.
    """
    end = separator_id(tokenizer, separator)
    _, tail = sequence_ends(tokenizer)
    prompts = encode_prompt_ids(records, tokenizer)
    steps = _steps(records, prompts, tokenizer)
    rows, ends = [], []
    for prompt, of_record in zip(prompts, steps):
        row, columns = list(prompt), []
        for step in of_record:
            row += [*step, end]
            columns.append(len(row) - 1)
        rows.append(row[:-1] + tail)
        ends.append(columns)
    checks = (("the prompt with its steps", rows, max_tokens),)
    separated = [
        "a step holds the separator" if any(end in step for step in of_record) else None
        for of_record in steps
    ]
    kept, bad = keep_fitting(records, on_bad, checks, separated)
    return StepExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        tokens=Ragged([rows[index] for index in kept]),
        step_ends=Ragged([ends[index] for index in kept]),
        labels=Ragged([[int(label) for label in records[index].labels] for index in kept]),
    )


def _steps(records, prompts, tokenizer):
    """Ids of every record's steps: the first as it follows the prompt, the others what separates them."""
    following = iter(
        tokenizer.encode_following([step for record in records for step in record.steps])
    )
    steps = [[next(following) for _ in record.steps] for record in records]
    behind_text = [
        row for row, record in enumerate(records) if isinstance(record.prompt, str) and record.steps
    ]
    firsts = encode_answers(
        [records[row] for row in behind_text],
        [prompts[row] for row in behind_text],
        [records[row].steps[0] for row in behind_text],
        tokenizer,
    )
    for row, first in zip(behind_text, firsts):
        steps[row][0] = first[:-1]  # without the EOS
    return steps


def separator_id(tokenizer: Tokenizer, separator: str = "\n") -> int:
    """int, the one token of what separates steps; ValueError if it is not one."""
    ids = tokenizer.encode_following([separator])[0]
    if len(ids) != 1:
        raise ValueError(
            f"What separates steps must be one token. Received: {separator!r}, which is {ids}"
        )
    return ids[0]


def _answers(record):
    if isinstance(record, PreferenceRecord):
        return (record.chosen, record.rejected)
    return record.completions


def _of_other_prompts(prompts, answers):
    """list of int, for each record one that has another prompt."""
    hashes = [zlib.crc32(np.array(p + a, np.int32)) for p, a in zip(prompts, answers)]
    order = np.argsort(hashes, kind="stable").tolist()
    following = _next_with_another_prompt([prompts[index] for index in order])
    others = dict(zip(order, (order[place] for place in following)))
    return [others[index] for index in range(len(prompts))]


def _next_with_another_prompt(prompts):
    """list of int, for each prompt the next one that differs from it, the first behind the last.

    >>> _next_with_another_prompt(["a", "a", "b", "c"])
    [2, 2, 3, 0]
    """
    count = len(prompts)
    following = [None] * count
    for place in reversed(range(2 * count)):  # twice round: the second time all are known
        here, after = place % count, (place + 1) % count
        following[here] = after if prompts[after] != prompts[here] else following[after]
    if following[0] is None:
        raise ValueError(
            "Responses to other prompts are needed, and all prompts are equal. "
            f"Received: {count} records"
        )
    return following
