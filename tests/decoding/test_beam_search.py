"""Beam search against enumeration, against greedy, and from an encoder-decoder."""

import itertools
from functools import partial

import keras
import numpy as np
import pytest

from tfalign.decoding import BeamSearch, Generator, Greedy, Sampler, Translator
from tfalign.functional.log_probs import token_log_probs
from tfalign.models import CausalLM, GPTConfig, Transformer, TransformerConfig

START, STOP, PAD = 1, 2, 0
STOPS = (3, 11, 13, 16)
V, R = 4, 3


def randomised(model, scale, embedding_scale, seed=0):
    """Matrices wide enough that the context matters."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) > 1:
            is_table = weight.name == "embeddings"
            width = embedding_scale if is_table else scale / weight.shape[0] ** 0.5
            weight.assign(width * random.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def causal():
    return randomised(CausalLM(GPTConfig(V, 8, 1, 2, max_positions=16)), 2.0, 1.0)


@pytest.fixture(scope="module")
def encoder_decoder():
    return randomised(Transformer(TransformerConfig(17, 16, 2, 2)), 1.5, 0.3, seed=1)


@pytest.fixture(scope="module")
def sources():
    random = np.random.default_rng(2)
    return random.integers(3, 17, size=(48, 6)).astype("int32"), np.arange(6) < random.integers(
        1, 7, size=(48, 1)
    )


def every_response():
    """All responses of up to R tokens, which end in STOP or have R tokens."""
    for length in range(1, R + 1):
        for tokens in itertools.product(range(V), repeat=length):
            if STOP not in tokens[:-1] and (tokens[-1] == STOP or length == R):
                yield tokens


def enumerated(model, prompt, length_penalty):
    """(tokens, log-prob) of the best response there is, by the model's full forward pass."""
    responses = list(every_response())
    rows = np.array([[*prompt, *r, *[0] * (R - len(r))] for r in responses], "int32")
    log_probs = np.asarray(token_log_probs(model(rows)[:, :-1], rows[:, 1:]))[:, len(prompt) - 1 :]
    totals = [row[: len(r)].sum() for row, r in zip(log_probs, responses)]
    scores = [t / ((5 + len(r)) / 6) ** length_penalty for t, r in zip(totals, responses)]
    best = int(np.argmax(scores))
    return responses[best], totals[best]


@pytest.mark.parametrize("length_penalty", [0.0, 2.0])
def test_a_beam_that_drops_nothing_is_exhaustive_search(causal, length_penalty):
    prompts = np.array(list(itertools.product((0, 1, 3), repeat=2)), "int32")
    search = BeamSearch(causal, R, V**R, length_penalty, (STOP,), PAD)
    found = search(prompts, np.ones(prompts.shape, "bool"))
    lengths = np.asarray(found.mask).sum(axis=1)
    for row, prompt in enumerate(prompts):
        tokens, total = enumerated(causal, prompt, length_penalty)
        assert tuple(np.asarray(found.tokens)[row, : lengths[row]]) == tokens
        np.testing.assert_allclose(np.asarray(found.log_probs)[row].sum(), total, atol=1e-5)
    assert len(set(lengths)) > 1, "responses no longer end at different lengths"


def test_a_length_penalty_prefers_longer_responses(causal):
    prompts = np.array(list(itertools.product((0, 1, 3), repeat=2)), "int32")
    likeliest, preferred = (
        [len(enumerated(causal, prompt, penalty)[0]) for prompt in prompts] for penalty in (0, 2)
    )
    assert np.all(np.array(preferred) >= likeliest) and sum(preferred) > sum(likeliest)


@pytest.fixture(scope="module")
def searched(encoder_decoder, sources):
    """What greedy and beams of width 1 and 3 find for the same sources."""
    choices = {"max_new_tokens": 7, "stop_tokens": STOPS, "pad_id": PAD}
    decoders = {
        "greedy": partial(Generator, sampler=Greedy(), **choices),
        "1": partial(BeamSearch, width=1, **choices),
        "3": partial(BeamSearch, width=3, **choices),
    }
    return {
        name: Translator(encoder_decoder, decoder, START)(*sources)
        for name, decoder in decoders.items()
    }


def teacher_forced(model, sources, generation):
    """Log-probs of the tokens by the uncached model: float32[B, R]."""
    tokens = np.asarray(generation.tokens)
    shifted = np.concatenate([np.full((len(tokens), 1), START, "int32"), tokens[:, :-1]], axis=1)
    logits = model(sources[0], shifted, source_mask=sources[1])
    return np.where(generation.mask, token_log_probs(logits, tokens), 0.0)


def test_a_beam_of_one_is_greedy(searched):
    np.testing.assert_array_equal(searched["1"].tokens, searched["greedy"].tokens)
    np.testing.assert_allclose(searched["1"].log_probs, searched["greedy"].log_probs, atol=1e-4)


def test_a_beam_is_at_least_as_likely_as_greedy(searched):
    greedy, beam = (np.asarray(searched[name].log_probs).sum(axis=1) for name in ("greedy", "3"))
    assert (beam >= greedy - 1e-4).all()
    assert (beam > greedy + 1e-2).sum() > 5, "the search finds nothing that greedy does not"


def test_cached_log_probs_are_those_of_teacher_forcing(encoder_decoder, sources, searched):
    for generation in searched.values():
        expected = teacher_forced(encoder_decoder, sources, generation)
        np.testing.assert_allclose(generation.log_probs, expected, atol=1e-4)
        mask, tokens = np.asarray(generation.mask), np.asarray(generation.tokens)
        assert 0.1 < mask[:, -1].mean() < 0.9, "rows no longer end at different lengths"
        assert np.all(np.isin(tokens, STOPS).sum(axis=1) <= 1)
        assert np.all(tokens[~mask] == PAD)


def test_an_encoder_decoder_samples_from_its_distribution(encoder_decoder, sources):
    """How often a first token is drawn from one source."""
    decoder = partial(Generator, max_new_tokens=1, sampler=Sampler(temperature=1.5))
    source, mask = (np.repeat(x[:1], 4000, axis=0) for x in sources)
    drawn = np.asarray(Translator(encoder_decoder, decoder, START)(source, mask, seed=3).tokens)
    logits = encoder_decoder(source[:1], np.array([[START]], "int32"), source_mask=mask[:1])
    expected = np.asarray(keras.ops.softmax(logits[0, 0] / 1.5))
    shares = np.bincount(drawn[:, 0], minlength=17) / 4000
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"width": 0}, "width=0"),
        ({"length_penalty": -0.5}, "length_penalty=-0.5"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
    ],
)
def test_impossible_choices(causal, choices, message):
    with pytest.raises(ValueError, match=message):
        BeamSearch(causal, **{"max_new_tokens": 3} | choices)
