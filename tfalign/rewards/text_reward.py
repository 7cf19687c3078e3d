"""A function of texts as a reward function of rollouts."""

from __future__ import annotations

import numpy as np

from tfalign.functional.arguments import check_takes
from tfalign.rewards.errors import RewardError, finite_number


class TextReward:
    """Scores decoded prompts and responses row by row.

    Args:
        function: ``(prompt: str, response: str) -> float``; a rule, a ``Combination`` of rules, or
            a function of one's own, ``Guarded`` where it may fail or hang.
        decode: list of ids to text, such as ``Tokenizer.decode``.

    Raises:
        ValueError: if the function does not take a prompt and a response.
    """

    def __init__(self, function, decode):
        check_takes(function, "A reward", "prompt", "response")
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
            RewardError: naming the row, if the function raises, or returns something that is not a
                finite number.
        """
        token_ids, padding_mask = np.asarray(token_ids), np.asarray(padding_mask)
        length = np.asarray(response_mask).shape[1]
        scores = []
        for row, (ids, mask) in enumerate(zip(token_ids, padding_mask)):
            prompt = self.decode(ids[:-length][mask[:-length]].tolist())
            response = self.decode(ids[-length:][mask[-length:]].tolist())
            scores.append(self._score(row, prompt, response))
        return np.asarray(scores, "float32")

    def _score(self, row, prompt, response):
        try:
            score = self.function(prompt, response)
        except Exception as error:
            raise RewardError(
                f"The reward of row {row} failed with {type(error).__name__}: {error}"
            ) from error
        return finite_number(score, f"The reward of row {row}")
