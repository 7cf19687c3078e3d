"""Temperatures from far below to far above what float32 can divide by, through everything that divides by
one: the exact distribution, or its limit, and never a number that is none."""

import collections

import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.decoding import BeamSearch, Generator, Greedy, Sampler, Streamer, Translator
from tfalign.decoding.samplers import RowSampler
from tfalign.environments import KLPenalty, TextGenerationMDP
from tfalign.functional.kl import full_kl
from tfalign.functional.log_probs import (
    LOWEST,
    entropy,
    scale_logits,
    token_log_probs,
)
from tfalign.functional.projected_log_probs import projected_log_probs_and_entropies
from tfalign.language_models import NeuralLanguageModel
from tfalign.models import Transformer, TransformerConfig

V = 37
TINY = [1e-3, 1e-8, 1e-30, 1.2e-38, 1e-38, 1e-40, 1e-45, 5e-324]
KINDS = {
    "random": lambda random: random.normal(size=V),
    "wide": lambda random: 80 * random.normal(size=V),
    "ties": lambda random: random.integers(0, 3, size=V),
    "banned": lambda random: np.where(random.random(V) < 0.6, -np.inf, random.normal(size=V)),
    "huge": lambda random: random.choice([-1e30, 1e30, 0.0], size=V),
    "one-hot": lambda random: np.eye(V)[random.integers(V)],
    "all alike": lambda random: np.zeros(V),
    "close": lambda random: 1 + 1e-6 * random.random(V),
}


def _rows(random, count):
    """(kinds, logits float32[count, V] of one kind or another, in half of the rows as bfloat16 has them)."""
    kinds = random.choice(list(KINDS), size=count)
    rows = np.array([KINDS[kind](random) for kind in kinds], "float32")
    rows[~np.isfinite(rows).any(axis=1), 0] = 0.0
    rounded = np.asarray(ops.cast(ops.cast(rows, "bfloat16"), "float32"))
    return kinds, np.where(random.random((count, 1)) < 0.5, rounded, rows)


def _temperatures(random, count):
    """float64[count], half of them ordinary, and half anywhere from the smallest number there is on."""
    anywhere = 10 ** random.uniform(-46, 25, size=count)
    return np.where(random.random(count) < 0.5, anywhere, 10 ** random.uniform(-3, 1, size=count))


def _exact(logits, temperatures):
    """float64[N, V], log-probs; below the smallest temperature of float32 those at that one."""
    bounded = np.clip(temperatures, np.finfo("float32").tiny, 1e20).reshape(-1, 1)
    scaled = (logits.astype("float64") - logits.max(axis=1, keepdims=True)) / bounded
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def _check(tokens, log_probs, exact):
    """How each row came out: every log-prob is the exact one's, and the token is one that can be."""
    tokens, log_probs = np.asarray(tokens), np.asarray(log_probs)
    chosen = np.take_along_axis(exact, tokens[:, None], axis=1)[:, 0]
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(log_probs, chosen, atol=1e-5, rtol=1e-5)
    assert (chosen > -104).all()  # what a float32 exp(x) can tell from 0
    is_best = chosen == exact.max(axis=1)
    certain = np.exp(exact.max(axis=1)) > 1 - 1e-6
    assert is_best[certain].all()
    np.testing.assert_allclose(log_probs[certain], 0, atol=2e-6)
    return np.where(certain, "arg max", np.where(is_best, "among the best", "sampled"))


def _program(temperature):
    """Everything that takes logits and one temperature, a constant in one compiled program; and the
    restricted sampler in it."""
    samplers = (
        Sampler(temperature),
        Sampler(temperature, top_k=9, top_p=0.9, min_p=0.01),
        Greedy(),
    )

    def run(logits, uniforms):
        drawn = [sampler.choose(logits, uniforms) for sampler in samplers]
        logits, tokens = logits[:, None], drawn[0][0][:, None]
        log_probs = token_log_probs(logits, tokens, temperature)
        divergence = full_kl(logits, logits[::-1], temperature)
        return *drawn, log_probs[:, 0], entropy(logits, temperature)[:, 0], divergence

    return backend.jit(run), samplers[1]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_samplers_and_log_probs_at_any_temperature_compiled_into_the_program(fuzz_cases):
    """A case is a temperature and a row; sixteen share a program."""
    random, rows = np.random.default_rng(0), 16
    outcomes = collections.Counter()
    for temperature in _temperatures(random, -(-fuzz_cases(128) // rows)):
        kinds, logits = _rows(random, rows)
        program, nucleus = _program(float(temperature))
        uniforms = random.random(rows).astype("float32")
        full, restricted, greedy, again, spread, divergence = program(logits, uniforms)
        exact = _exact(logits, np.full(rows, temperature))
        outcomes.update(zip(kinds, _check(*full, exact)))
        np.testing.assert_allclose(full[1], again, atol=1e-6)  # the first ratio is 1
        kept = np.asarray(nucleus.distribution(logits))
        _check(*restricted, kept - np.log(np.exp(kept).sum(axis=1, keepdims=True)))
        np.testing.assert_array_equal(greedy[0], logits.argmax(axis=1))
        assert np.isfinite(np.asarray(greedy[1])).all()
        expected = -(np.exp(exact) * np.where(np.isfinite(exact), exact, 0)).sum(axis=1)
        np.testing.assert_allclose(spread, expected, atol=1e-4)
        assert not np.isnan(np.asarray(divergence)).any()
    print(sorted(outcomes.items()))


def test_a_temperature_for_every_row(fuzz_cases):
    """The server's sampler, in one program; 0 is greedy's."""
    random, count = np.random.default_rng(1), fuzz_cases(500)
    kinds, logits = _rows(random, count)
    temperatures = _temperatures(random, count).astype("float32")
    temperatures[:5] = 0
    top_p = np.where(random.random(count) < 0.5, 1.0, random.random(count)).astype("float32")

    def run(logits, temperatures, top_p, uniforms):
        all_k, none = ops.zeros_like(top_p, "int32"), ops.zeros_like(top_p)
        everywhere = RowSampler(temperatures, ops.ones_like(top_p), all_k, none)
        nucleus = RowSampler(temperatures, top_p, all_k, none)
        return everywhere.choose(logits, uniforms), nucleus.choose(logits, uniforms)

    uniforms = random.random(count).astype("float32")
    full, nucleus = backend.jit(run)(logits, temperatures, top_p, uniforms)
    tiny = temperatures < np.finfo("float32").tiny  # some processors take these for 0
    exact = _exact(logits, temperatures)
    print(collections.Counter(zip(kinds[~tiny], _check(*(x[~tiny] for x in full), exact[~tiny]))))
    for tokens, log_probs in (full, nucleus):
        assert np.isfinite(np.asarray(log_probs)).all()
        best = logits[np.arange(count), np.asarray(tokens)] == logits.max(axis=1)
        assert best[tiny].all()


@pytest.mark.parametrize("temperature", TINY)
def test_chunked_log_probs_and_their_gradients(temperature):
    random = np.random.default_rng(2)
    hidden = random.normal(size=(2, 5, 8)).astype("float32")
    kernel = random.normal(size=(8, V)).astype("float32")
    tokens = (hidden @ kernel).argmax(axis=-1).astype("int32")
    tokens[0, 0] = (tokens[0, 0] + 1) % V  # one that is not the likeliest

    def run(hidden, kernel, tokens):
        def loss(hidden):
            log_probs, spread = projected_log_probs_and_entropies(
                hidden, kernel, tokens, 3, temperature
            )
            return ops.sum(log_probs[:, 1:]) + ops.sum(spread)

        values = projected_log_probs_and_entropies(hidden, kernel, tokens, 3, temperature)
        return *values, backend.input_gradient(loss, hidden)[1]

    log_probs, spread, gradient = backend.jit(run)(hidden, kernel, tokens)
    assert LOWEST <= log_probs[0, 0] < -20
    log_probs = np.asarray(log_probs).ravel()[1:]
    np.testing.assert_allclose(log_probs, 0, atol=0.2 if temperature == 1e-3 else 0)
    assert np.isfinite(np.asarray(spread)).all() and np.isfinite(np.asarray(gradient)).all()


def test_the_same_digits_as_a_plain_division_at_ordinary_temperatures():
    random = np.random.default_rng(3)
    logits = (4 * random.normal(size=(2_000, 50))).astype("float32")
    uniforms = random.random(2_000).astype("float32")
    for temperature in (0.5, 0.7, 1.0, 1.3):
        plain = logits / np.float32(temperature)
        plain -= plain.max(axis=1, keepdims=True)
        np.testing.assert_allclose(scale_logits(logits, temperature), plain, atol=2e-5, rtol=2e-6)
        running = np.exp(plain).cumsum(axis=1)
        target = uniforms * running[:, -1]
        tokens = np.asarray(Sampler(temperature).choose(logits, uniforms)[0])
        near = np.abs(running - target[:, None]).min(axis=1) < 1e-4  # a boundary: rounding decides
        expected = (running > target[:, None]).argmax(axis=1)
        assert (tokens == expected)[~near].all() and near.mean() < 0.1


TOKENS, R = 23, 6
PROMPT = [[2, 7, 1, 4]]


def _greedy(policy):
    return np.asarray(Generator(policy, R, Greedy())(PROMPT).tokens)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "temperature",
    [
        pytest.param(1e-30, marks=pytest.mark.slow),
        1e-38,
        pytest.param(1e-45, marks=pytest.mark.slow),
    ],
)
def test_every_loop_over_a_model_says_what_greedy_says(policy, temperature):
    expected, sampler = _greedy(policy), Sampler(temperature)
    generation = Generator(policy, R, sampler)(PROMPT, seed=5)
    np.testing.assert_array_equal(generation.tokens[0], expected)
    np.testing.assert_array_equal(generation.log_probs, np.zeros((1, R)))
    assert list(Streamer(policy, R, sampler)(PROMPT[0], seed=5)) == expected.tolist()
    drawn = NeuralLanguageModel(policy).sample(PROMPT, R, sampler, seed=5)
    np.testing.assert_array_equal(drawn[0], expected)


@pytest.mark.slow
def test_an_encoder_decoder_at_a_tiny_temperature():
    model = Transformer(TransformerConfig(vocab_size=9, width=8, num_layers=1, num_heads=2))
    for weight in model.weights:
        weight.assign(weight + 0.5 * np.random.default_rng(1).normal(size=weight.shape))

    def write(sampler):
        return Translator(model, lambda read: Generator(read, 5, sampler), start_token=1)(
            [[3, 4, 5]], seed=2
        )

    cold = write(Sampler(1e-39))
    np.testing.assert_array_equal(cold.tokens, write(Greedy()).tokens)
    np.testing.assert_array_equal(cold.log_probs, np.zeros((1, 5)))


@pytest.mark.slow
def test_beam_search_over_logits_of_any_size(policy):
    """Scaled up until nothing but the arg max is left: greedy's response, with log-prob 0."""
    readout = policy.backbone.token_embedding
    table = readout.embeddings if readout.tied else readout.kernel
    before = np.asarray(table)
    expected = _greedy(policy) if not readout.tied else None  # a tied table scales the input, too
    try:
        table.assign(before * 1e28)
        found = BeamSearch(policy, R, width=3)(PROMPT)
    finally:
        table.assign(before)
    assert np.isfinite(np.asarray(found.log_probs)).all()
    if expected is not None:
        np.testing.assert_array_equal(found.tokens[0], expected)
        np.testing.assert_array_equal(found.log_probs[0], np.zeros(R))


@pytest.mark.parametrize("temperature", [1e-38, 1e-45])
def test_a_step_of_the_process_pays_a_finite_penalty(policy, temperature, prompts):
    mdp = TextGenerationMDP(
        prompts,
        lambda *texts: np.zeros(len(texts[0])),
        max_new_tokens=3,
        vocab_size=TOKENS,
        penalty=KLPenalty(policy, policy, 0.5, temperature),
    )
    state = mdp.initial(np.arange(5, dtype="int32"))
    for action in (0, 3, 9):  # hardly the likeliest
        state, rewards, _ = mdp.step(state, np.full(5, action, "int32"))
        np.testing.assert_array_equal(rewards, np.zeros(5))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), "1", None])
def test_what_is_no_temperature_is_refused_before_anything_runs(policy, temperature):
    for refuse in (Sampler, lambda t: KLPenalty(policy, policy, 1.0, t)):
        with pytest.raises(ValueError, match="temperature must be positive and finite"):
            refuse(temperature)
