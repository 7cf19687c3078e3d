"""A function of texts as a reward function of rollouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfalign.rewards.callables import signature_of
from tfalign.rewards.errors import RewardError, finite_number
from tfalign.text import message_fields
from tfalign.types import Array


class TextReward:
    """Scores prompts and responses as texts.

    Args:
        function: ``(prompt, response) -> float``, ``(prompt, response, record) -> float``, or a function of
            lists ``(prompts, responses[, records]) -> list of float``, see ``callables.signature_of``. A
            prompt is a text, or a list of messages where the data has conversations; a record is a dict
            of all columns of the data. None as a score means that the reward does not apply: 0.
        decode: list of ids to text, such as ``Tokenizer.decode``.
        records: the records that the prompts are rows of; None where there are none, and prompts are decoded.

    Attributes:
        takes_rows: True, see ``Responder``.

    Raises:
        ValueError: if the function cannot be called so.

    >>> reward = TextReward(lambda prompt, response: response.count("a"), decode=lambda ids: "a" * len(ids))
    >>> mask = np.ones((1, 3), "bool")
    >>> reward(np.zeros((1, 3), "int32"), mask, mask[:, 1:])
    array([2.], dtype=float32)
    """

    takes_rows = True

    def __init__(
        self,
        function: Callable,
        decode: Callable[[list[int]], str],
        records: Sequence[Any] | None = None,
    ) -> None:
        self.function = function
        self.decode = decode
        self.records = records
        self._takes_record, self._is_batched = signature_of(function)
        if self._takes_record and records is None:
            raise ValueError("A reward of (prompt, response, record) needs the records of the data")

    def __call__(
        self, token_ids: Array, padding_mask: Array, response_mask: Array, rows: Array | None = None
    ) -> np.ndarray:
        """Scores prompts and responses; of a conversation, what the policy said after all others.

        Args:
            token_ids: int32[B, T], prompt and response.
            padding_mask: bool[B, T].
            response_mask: bool[B, R], of the last R columns.
            rows: int[B], which record each prompt is; None to decode the prompts.

        Returns:
            float32[B].

        Raises:
            RewardError: naming the row, if the function raises, or returns something that is not a
                finite number.
        """
        ids, written = np.asarray(token_ids), np.asarray(padding_mask)
        length = np.asarray(response_mask).shape[1]
        last = said_last(written[:, -length:], np.asarray(response_mask))
        prompts = self._texts(ids[:, :-length], written[:, :-length])
        responses = self._texts(ids[:, -length:], last)
        columns = [prompts, responses]
        if self.records is not None and rows is not None:
            records = [columns_of(self.records[row]) for row in np.asarray(rows).tolist()]
            columns = [[record["prompt"] for record in records], responses]
            columns += [records] if self._takes_record else []
        scores = self._of_batch(columns) if self._is_batched else self._of_rows(columns)
        return np.asarray(scores, "float32")

    def _texts(self, token_ids, mask):
        return [self.decode(ids[of].tolist()) for ids, of in zip(token_ids, mask)]

    def _of_batch(self, columns):
        scores = _called(self.function, columns, "of a batch")
        count = len(columns[0])
        if np.ndim(scores) != 1 or len(scores) != count:
            raise RewardError(
                f"A reward of {count} responses must return {count} numbers. Received: {scores!r}"
            )
        return [_number(score, row) for row, score in enumerate(scores)]

    def _of_rows(self, columns):
        return [
            _number(_called(self.function, arguments, f"of row {row}"), row)
            for row, arguments in enumerate(zip(*columns))
        ]


def said_last(written: np.ndarray, of_policy: np.ndarray) -> np.ndarray:
    """bool[B, R], the tokens after the last that somebody else wrote.

    Args:
        written: bool[B, R], everybody's tokens.
        of_policy: bool[B, R], the policy's.

    >>> said_last(np.array([[True] * 4 + [False]]), np.array([[True, False, True, True, False]]))
    array([[False, False,  True,  True, False]])
    """
    others = written & ~of_policy
    heard_later = np.cumsum(others[:, ::-1], axis=1)[:, ::-1] > 0
    return written & ~heard_later


def columns_of(record: Any) -> dict[str, Any]:
    """All columns of a record of the data; a conversation as a list of messages.

    >>> from tfalign.data import PromptRecord
    >>> columns_of(PromptRecord("1 + 1 =", row={"answer": "2"}))
    {'answer': '2', 'prompt': '1 + 1 ='}
    """
    prompt = record.prompt
    if not isinstance(prompt, str):
        prompt = [message_fields(message) for message in prompt]
    others = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name not in ("prompt", "row", "source", "weight")
    }
    return dict(record.row) | others | {"prompt": prompt}


def _called(function, arguments, what):
    try:
        return function(*arguments)
    except Exception as error:
        raise RewardError(
            f"The reward {what} failed with {type(error).__name__}: {error}"
        ) from error


def _number(score, row):
    return 0.0 if score is None else finite_number(score, f"The reward of row {row}")
