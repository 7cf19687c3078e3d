"""Streaming: the tokens of the fused loop, one at a time."""

import numpy as np
import pytest

from tfalign.decoding import Generator, Sampler, Streamer
from tfalign.models import CausalLM, GPTConfig

R, STOPS, SEED = 8, (3, 5), 12
of_llama = pytest.mark.parametrize("policy", ["llama"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def streamer(policy):
    return Streamer(policy, R, Sampler(0.7), STOPS)


@pytest.mark.slow
@of_llama
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


@of_llama
def test_yields_before_the_end(streamer):
    tokens = streamer([2, 4], seed=1, pad_to=6)
    assert isinstance(next(tokens), int)


@pytest.mark.parametrize(
    "length, max_new_tokens, columns",
    [(1, 4, 16), (3, 4, 16), (16, 4, 16), (17, 4, 32), (900, 4, 1024), (7_000, 64, 8_128)],
)
def test_the_cache_has_columns_for_the_prompt_and_the_response_alone(
    monkeypatch, length, max_new_tokens, columns
):
    """Not for all 8,192 positions that the model has."""
    model = CausalLM(GPTConfig(9, 4, 1, 1, rotary_base=100.0, max_positions=8_192))
    asked = []
    new_cache = model.backbone.new_cache

    def noted(rows, length):
        asked.append(length)
        return new_cache(rows, length)

    monkeypatch.setattr(model.backbone, "new_cache", noted)
    next(Streamer(model, max_new_tokens)([1] * length))
    assert set(asked) == {columns + max_new_tokens - 1}


@of_llama
def test_prompts_of_a_bucket_share_a_program(policy):
    streamer = Streamer(policy, R, Sampler(0.7), STOPS)
    for prompt in ([2], [2, 4], [1] * 16):
        next(streamer(prompt))
    assert streamer._begin.traces == streamer._draw.traces == 1


@of_llama
def test_the_bucket_changes_nothing(policy, streamer):
    for prompt in ([2, 4], [7, 1, 3]):
        assert list(streamer(prompt, seed=SEED)) == list(streamer(prompt, seed=SEED, pad_to=6))


@of_llama
def test_an_empty_prompt_is_refused(streamer):
    with pytest.raises(ValueError, match="Row 0 of the prompts is empty"):
        next(streamer([]))


@of_llama
def test_a_response_beyond_the_positions_is_refused(streamer):
    with pytest.raises(ValueError, match="need 25 positions"):
        next(streamer([1] * 17))


@of_llama
def test_no_new_tokens_are_refused(policy):
    with pytest.raises(ValueError, match="Received: max_new_tokens=0"):
        Streamer(policy, 0)
