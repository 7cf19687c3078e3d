"""Streaming: the tokens of the fused loop, one at a time."""

import numpy as np
import pytest

from tfalign.decoding import Generator, Sampler, Streamer

R, STOPS, SEED = 8, (3, 5), 12
pytestmark = pytest.mark.parametrize("policy", ["llama"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def streamer(policy):
    return Streamer(policy, R, Sampler(0.7), STOPS)


def test_streams_the_tokens_of_the_fused_loop(policy, streamer, prompts):
    generator = Generator(policy, R, Sampler(0.7), STOPS)
    lengths = []
    for row, mask in zip(*prompts):
        prompt = row[mask].tolist()
        streamed = list(streamer(prompt, seed=SEED, pad_to=6))
        generation = generator(row[None], mask[None], seed=SEED)
        np.testing.assert_array_equal(streamed, generation.tokens[0][generation.mask[0]])
        lengths.append(len(streamed))
    assert min(lengths) < R and max(lengths) == R, "the seed no longer shows both endings"


def test_yields_before_the_end(streamer):
    tokens = streamer([2, 4], seed=1, pad_to=6)
    assert isinstance(next(tokens), int)


def test_an_empty_prompt_is_refused(streamer):
    with pytest.raises(ValueError, match="Row 0 of the prompts is empty"):
        next(streamer([]))


def test_a_response_beyond_the_positions_is_refused(streamer):
    with pytest.raises(ValueError, match="need 25 positions"):
        next(streamer([1] * 17))


def test_no_new_tokens_are_refused(policy):
    with pytest.raises(ValueError, match="Received: max_new_tokens=0"):
        Streamer(policy, 0)
