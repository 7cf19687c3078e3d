"""Rewards computed from text: what the function sees, row by row."""

import numpy as np
import pytest
from keras import ops

from tfalign.rewards import TextReward

WORDS = ["<pad>", "a", "b", "c", "d", "<stop>"]
# prompts "a b" and "c", left-padded, beside responses "d <stop>" and "d c b"; padding is noise
TOKEN_IDS = np.array([[1, 2, 4, 5, 3], [2, 3, 4, 3, 2]], "int32")
MASK = np.array([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]], "bool")


def _decode(ids):
    assert type(ids) is list and all(type(token) is int for token in ids)
    return " ".join(WORDS[token] for token in ids)


def _score(function, decode=_decode):
    return TextReward(function, decode)(TOKEN_IDS, MASK, MASK[:, 2:])


def test_the_function_sees_prompt_and_response_without_padding():
    seen = []

    def function(prompt, response):
        seen.append((prompt, response))
        return len(response)

    scores = _score(function)
    assert seen == [("a b", "d <stop>"), ("c", "d c b")]
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [8, 5])


def test_takes_tensors():
    reward = TextReward(lambda prompt, response: len(prompt), _decode)
    scores = reward(*map(ops.convert_to_tensor, (TOKEN_IDS, MASK, MASK[:, 2:])))
    np.testing.assert_array_equal(scores, [3, 1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_names_its_row(bad):
    with pytest.raises(ValueError, match=f"reward of row 1 .*Received: {bad}"):
        _score(lambda prompt, response: bad if prompt == "c" else 0.0)


@pytest.mark.parametrize("bad", ["bad", "good"])
def test_a_score_that_is_no_number_names_its_row(bad):
    with pytest.raises(ValueError, match=f"reward of row 0 .*Received: {bad!r}"):
        _score(lambda prompt, response: bad)
