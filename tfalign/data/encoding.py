"""Records to token ids, kept flat (``data.examples``).

A completion has the tokens that the joined text of prompt and completion has for it, and the prompt
those it has alone (``text.encode_joined``): what a policy is asked with is the beginning of what it was
trained on. An example begins with what the tokenizer puts in front of a text (one BOS, CLS, or
nothing), and ends with EOS (or SEP), except a prompt, which the policy continues. A prompt that is a
conversation, and the answer to it, are written by the tokenizer's chat template, special tokens included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfalign.data.examples import (
    LanguageModelExamples,
    PreferenceExamples,
    PromptExamples,
    Ragged,
)
from tfalign.data.records import (
    BadRecord,
    BadRecordError,
    BadRecordPolicy,
    CompletionRecord,
    ConversationRecord,
    PreferenceRecord,
    Record,
    TextRecord,
    summarise,
)
from tfalign.text import Tokenizer, encode_answer, encode_conversation, encode_joined


def encode_texts(
    records: Sequence[TextRecord],
    tokenizer: Tokenizer,
    max_tokens: int | None = None,
    on_bad: str = "stop",
) -> LanguageModelExamples:
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


def encode_completions(
    records: Sequence[CompletionRecord],
    tokenizer: Tokenizer,
    max_tokens: int | None = None,
    max_prompt_tokens: int | None = None,
    on_bad: str = "stop",
) -> LanguageModelExamples:
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


def encode_conversations(
    records: Sequence[ConversationRecord],
    tokenizer: Tokenizer,
    max_tokens: int | None = None,
    on_bad: str = "stop",
) -> LanguageModelExamples:
    """Whole conversations, as the tokenizer's chat template writes them; what the assistant says is
    a target, with the end of its turns. The template sees the column "tools" of a record.

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
    encoded = [
        encode_conversation(tokenizer, record.messages, **template_variables(record))
        for record in records
    ]
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


def encode_preferences(
    records: Sequence[PreferenceRecord],
    tokenizer: Tokenizer,
    max_tokens: int | None = None,
    max_prompt_tokens: int | None = None,
    on_bad: str = "stop",
) -> PreferenceExamples:
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


def encode_prompts(
    records: Sequence[Any],
    tokenizer: Tokenizer,
    max_prompt_tokens: int | None = None,
    on_bad: str = "stop",
    **variables: Any,
) -> PromptExamples:
    """Prompts, each [BOS] prompt, without an end.

    Args:
        records: sequence of records that have a prompt.
        tokenizer, max_prompt_tokens, on_bad: as for ``encode_completions``.
        variables: what conversations' chat template asks for besides, such as ``tools``.

    Returns:
        PromptExamples.

    Raises:
        BadRecordError, ValueError: as ``encode_texts``.
    """
    rows = encode_prompt_ids(records, tokenizer, **variables)
    kept, bad = keep_fitting(records, on_bad, (("the prompt", rows, max_prompt_tokens),))
    return PromptExamples(
        records=tuple(records[index] for index in kept),
        bad=bad,
        pad_id=padding_id(tokenizer),
        tokens=Ragged([rows[index] for index in kept]),
    )


def encode_prompt_ids(
    records: Sequence[Any], tokenizer: Tokenizer, **variables: Any
) -> list[list[int]]:
    """[BOS] prompt each, or a conversation up to the assistant's next turn."""
    head, _ = sequence_ends(tokenizer)
    prompts = [record.prompt for record in records]
    texts = iter(tokenizer.encode_batch(filter(_is_text, prompts)))
    return [
        head + next(texts)
        if _is_text(prompt)
        else encode_conversation(
            tokenizer, prompt, open_ended=True, **template_variables(record) | variables
        ).token_ids
        for prompt, record in zip(prompts, records)
    ]


def template_variables(record: Record) -> dict[str, Any]:
    """What a record's chat template sees beside the conversation: the tools of its column "tools", if there are any.

    >>> from tfalign.data import PromptRecord
    >>> template_variables(PromptRecord("Hi.", row={"tools": [{"name": "add"}], "id": 3}))
    {'tools': [{'name': 'add'}]}
    """
    tools = record.row.get("tools")
    return {"tools": tools} if tools else {}


def encode_answers(
    records: Sequence[Any],
    prompt_ids: Sequence[list[int]],
    answers: Sequence[str],
    tokenizer: Tokenizer,
) -> list[list[int]]:
    """What follows the prompts' ids.

    Args:
        records: records that have a prompt.
        prompt_ids: list of lists of int, as ``encode_prompt_ids`` has them.
        answers: list of str, one for each.
        tokenizer: ``tfalign.text.Tokenizer``.

    Returns:
        answer EOS each; in a conversation as the chat template ends a turn.
    """
    head, tail = sequence_ends(tokenizer)
    asked = [
        (record.prompt, ids[len(head) :], answer)
        for record, ids, answer in zip(records, prompt_ids, answers, strict=True)
        if _is_text(record.prompt)
    ]
    texts = iter(encode_joined(tokenizer, *map(list, zip(*asked))) if asked else ())
    return [
        next(texts) + tail
        if _is_text(record.prompt)
        else encode_answer(tokenizer, record.prompt, answer, **template_variables(record))[1]
        for record, answer in zip(records, answers)
    ]


def are_conversations(records: Sequence[Any]) -> bool:
    """Whether prompts are conversations, which a chat template writes, and not texts.

    >>> from tfalign.data import PromptRecord
    >>> are_conversations([PromptRecord("a text")])
    False
    """
    return not all(_is_text(record.prompt) for record in records)


def _is_text(prompt):
    return isinstance(prompt, str)


def _answered(records, prompts, answers, tokenizer):
    """list of lists of int, the prompts' ids and the answers'."""
    ids = encode_answers(records, prompts, answers, tokenizer)
    return [prompt + answer for prompt, answer in zip(prompts, ids)]


def sequence_ends(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What stands before and behind an example: the tokenizer's head, and its EOS (or SEP), which is
    one of those that end a response."""
    stops = tokenizer.stop_ids
    if not stops:
        raise ValueError(
            "The tokenizer needs an eos (or sep) token, or nothing would teach a model to stop. "
            f"Received roles: {', '.join(tokenizer.special_ids) or 'none'}"
        )
    end = tokenizer.eos_id if tokenizer.eos_id in stops else stops[0]
    return list(tokenizer.head_ids), [end]


def padding_id(tokenizer: Tokenizer) -> int:
    """int, what stands at padding."""
    return 0 if tokenizer.pad_id is None else tokenizer.pad_id


def keep_fitting(
    records: Sequence[Any],
    on_bad: str,
    checks: Sequence[tuple[str, Sequence[Sequence[int]], int | None]],
    reasons: Sequence[str | None] | None = None,
) -> tuple[list[int], tuple[BadRecord, ...]]:
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
