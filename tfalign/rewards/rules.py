"""Rewards computed by a Python function from the text of a response."""

from __future__ import annotations

import math

import numpy as np


class TextReward:
    """A function of texts as a reward function of rollouts.

    Args:
        function: ``(prompt: str, response: str) -> float``.
        decode: list of ids to text, such as ``Tokenizer.decode``.
    """

    def __init__(self, function, decode):
        self.function = function
        self.decode = decode

    def __call__(self, token_ids, padding_mask, response_mask):
        """Scores decoded prompts and responses.

        Args:
            token_ids: int32[B, T], prompt and response.
            padding_mask: bool[B, T].
            response_mask: bool[B, R], of the last R columns.

        Returns:
            float32[B].

        Raises:
            ValueError: if the function returns something that is not a finite number, naming the
                row.
        """
        token_ids, padding_mask = np.asarray(token_ids), np.asarray(padding_mask)
        length = np.asarray(response_mask).shape[1]
        scores = []
        for row, (ids, mask) in enumerate(zip(token_ids, padding_mask)):
            prompt = self.decode(ids[:-length][mask[:-length]].tolist())
            response = self.decode(ids[-length:][mask[-length:]].tolist())
            score = self.function(prompt, response)
            if not _is_finite_number(score):
                raise ValueError(
                    f"The reward of row {row} is not a finite number. Received: {score!r}"
                )
            scores.append(float(score))
        return np.asarray(scores, "float32")


def _is_finite_number(score):
    try:
        return math.isfinite(score)
    except TypeError:
        return False
