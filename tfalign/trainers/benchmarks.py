"""Published tasks with their own data: TruthfulQA's multiple choice, and gsm8k by exact match."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from keras import ops

from tfalign.data import CompletionRecord, encode_completions
from tfalign.data.readers import json_rows, read_texts
from tfalign.evaluation.multiple_choice import LogProbs, multiple_choice, read_truthfulqa
from tfalign.evaluation.statistics import Interval, mean_interval, wilson_interval
from tfalign.functional.masking import masked_sum
from tfalign.models import CausalLM
from tfalign.models.read_out import read_out
from tfalign.pretrained import Pretrained
from tfalign.rewards.numbers import last_number, marked_number
from tfalign.training.evaluator import Outputs
from tfalign.types import Array, LanguageModelBatch

_STEP = 64  # columns: lengths are rounded up to a multiple, each a program of its own
_NEXT = "\nQuestion:"  # where a model goes on with a question of its own


def truthfulqa(
    pretrained: Pretrained, path: str | os.PathLike, limit: int | None = None, rows: int = 16
) -> dict[str, Interval]:
    """MC1 and MC2 of a language model (Lin et al. 2022), with the authors' examples in front.

    Args:
        pretrained: the model.
        path: TruthfulQA.csv.
        limit: int, how many questions, from the first on; None for all.
        rows: answers at a time.

    Returns:
        dict of Interval: "mc1" and "mc2".

    Raises:
        ValueError: if a question with its answer does not fit the model's positions.
    """
    questions = read_truthfulqa(path)[:limit]
    found = multiple_choice(questions, answer_log_probs(pretrained, rows))
    mc1 = wilson_interval(int(found.mc1.sum()), len(found.mc1))
    return {"mc1": mc1, "mc2": mean_interval(found.mc2)}


def answer_log_probs(pretrained: Pretrained, rows: int = 16) -> LogProbs:
    """A function of pairs of a prompt and an answer: the answers' log-probabilities without an end, nats.

    Args:
        pretrained: a language model.
        rows: pairs at a time.
    """

    def log_probs(pairs):
        records = [CompletionRecord(*pair, f"answer {at}") for at, pair in enumerate(pairs)]
        most = pretrained.model.config.max_positions
        examples = encode_completions(records, pretrained.tokenizer, max_tokens=most)
        is_target = examples.is_target.copy()
        is_target[examples.tokens.starts + examples.lengths - 1] = False  # the end
        examples = dataclasses.replace(examples, is_target=is_target)
        columns = sorted({int(-(-length // _STEP) * _STEP) for length in examples.lengths})
        columns = [min(size, most or size) for size in columns]
        return Outputs(pretrained.model, _log_probs_of_targets)(
            examples, min(rows, len(examples)), columns
        )

    return log_probs


def gsm8k(
    pretrained: Pretrained,
    path: str | os.PathLike,
    examples: str | os.PathLike | None = None,
    shots: int = 0,
    limit: int | None = None,
    rows: int = 16,
    max_new_tokens: int = 256,
) -> dict[str, Interval]:
    """Exact match of gsm8k's numbers by greedy decoding (Cobbe et al. 2021).

    Args:
        pretrained: a language model.
        path: test.jsonl.
        examples: train.jsonl, whose first ``shots`` problems stand before every question.
        shots, limit, rows: ints.
        max_new_tokens: int, longest answer.

    Returns:
        dict of Interval: "exact_match", of the number behind "####", or of the last one where there is none.
    """
    shown = _problems(examples)[:shots] if examples is not None else []
    before = "".join(f"{_asked(question)} {answer}\n\n" for question, answer in shown)
    problems = _problems(path)[:limit]
    right = 0
    for start in range(0, len(problems), rows):
        some = problems[start : start + rows]
        prompts = [before + _asked(question) for question, _ in some]
        said = pretrained.generate(prompts, top_k=1, max_new_tokens=max_new_tokens)
        right += sum(is_right(response, answer) for response, (_, answer) in zip(said, some))
    return {"exact_match": wilson_interval(right, len(problems))}


def is_right(response: str, answer: str) -> bool:
    """Whether a response to one of gsm8k's problems has its number.

    >>> is_right("3 * 4 = 12\\n#### 12\\n\\nQuestion: 5", "... #### 12"), is_right("12 or 13", "#### 12")
    (True, False)
    """
    said = response.partition(_NEXT)[0]
    number = marked_number(said)
    return (last_number(said) if number is None else number) == marked_number(answer)


def _problems(path) -> list[tuple[str, str]]:
    rows: Sequence = [
        read_texts(row, ("question", "answer"), where) for where, row in json_rows(path)
    ]
    return [(row["question"], row["answer"]) for row in rows]


def _asked(question):
    return f"Question: {question}\nAnswer:"


def _log_probs_of_targets(model: CausalLM, batch: LanguageModelBatch) -> Array:
    """float32[B], summed over a row's targets."""
    hidden = model.backbone(batch.token_ids, segment_ids=batch.segment_ids, training=False)
    per_token = read_out(model, hidden[:, :-1], ops.cast(batch.token_ids[:, 1:], "int32"))
    return masked_sum(per_token, batch.loss_mask[:, 1:], axis=-1)
