"""Samplers on logits made by hand, and the inversion of the cumulative distribution."""

import numpy as np
import pytest
from keras import ops

from tfalign.decoding import Greedy, Sampler
from tfalign.decoding.samplers import RowSampler, invert_cumulative
from tfalign.functional.random import uniform

PROBABILITIES = np.array([0.05, 0.4, 0.2, 0.25, 0.1])
LOGITS = np.log(PROBABILITIES)[None].astype("float32") + 3.0  # a constant changes nothing
LAST_UNIFORM = np.float32(1 - 2.0**-24)  # the largest there is


def _uniforms(count, seed=0):
    return np.array(uniform(seed, np.arange(count, dtype="int32"), np.int32(0)))


def _probabilities(sampler, logits=LOGITS):
    return np.asarray(ops.softmax(sampler.distribution(logits), axis=-1))[0]


@pytest.mark.parametrize(
    "sampler, kept",
    [
        (Sampler(), [0, 1, 2, 3, 4]),
        (Sampler(top_k=1), [1]),
        (Sampler(top_k=3), [1, 2, 3]),
        (Sampler(top_k=5), [0, 1, 2, 3, 4]),
        (Sampler(top_k=99), [0, 1, 2, 3, 4]),
        (Sampler(top_p=0.3), [1]),
        (Sampler(top_p=0.5), [1, 3]),
        (Sampler(top_p=0.64), [1, 3]),
        (Sampler(top_p=0.66), [1, 2, 3]),
        (Sampler(top_p=0.96), [0, 1, 2, 3, 4]),
        (Sampler(min_p=0.2), [1, 2, 3, 4]),
        (Sampler(min_p=0.3), [1, 2, 3]),
        (Sampler(min_p=0.99), [1]),
        # of the 0.85 that top-k leaves, the first token holds 0.47 and the first two 0.76
        (Sampler(top_k=3, top_p=0.7), [1, 3]),
        (Sampler(top_p=0.9, min_p=0.6), [1, 3]),
    ],
    ids=str,
)
def test_support_is_exact_and_renormalised(sampler, kept):
    expected = np.zeros(5)
    expected[kept] = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    np.testing.assert_allclose(_probabilities(sampler), expected, rtol=1e-5)
    uniforms = np.append(_uniforms(200), [0, LAST_UNIFORM]).astype("float32")
    tokens, log_probs = sampler.choose(np.repeat(LOGITS, 202, axis=0), uniforms)
    assert set(np.asarray(tokens)) == set(kept)
    np.testing.assert_allclose(log_probs, np.log(expected[np.asarray(tokens)]), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.25, 0.7, 1.0, 3.0])
def test_temperature_divides_the_logits(temperature):
    expected = PROBABILITIES ** (1 / temperature)
    expected /= expected.sum()
    np.testing.assert_allclose(_probabilities(Sampler(temperature)), expected, rtol=1e-5)
    tokens, log_probs = Sampler(temperature).choose(np.repeat(LOGITS, 50, axis=0), _uniforms(50))
    np.testing.assert_allclose(log_probs, np.log(expected[np.asarray(tokens)]), atol=1e-6)


def test_restrictions_apply_after_the_temperature():
    """At temperature 0.5 the two likeliest tokens hold 0.4**2 + 0.25**2 of 0.275: above 0.8."""
    np.testing.assert_array_equal(_probabilities(Sampler(0.5, top_p=0.8)) > 0, [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(_probabilities(Sampler(1.0, top_p=0.8)) > 0, [0, 1, 1, 1, 0])


@pytest.mark.parametrize(
    "sampler, kept",
    [
        (Sampler(top_p=0.35), [1]),
        (Sampler(top_p=0.4), [1]),
        (Sampler(top_p=0.5), [0, 1]),
        (Sampler(top_p=0.6), [0, 1]),
        (Sampler(top_p=0.61), [0, 1, 2]),
        (Sampler(top_p=0.8), [0, 1, 2]),
        (Sampler(top_p=0.81), [0, 1, 2, 3]),
        (Sampler(top_p=1e-9), [1]),
        (Sampler(top_k=2), [0, 1, 2, 3]),  # as transformers: all that are as likely as the k-th
        (Sampler(top_k=2, top_p=0.5), [0, 1]),
        (Sampler(min_p=0.5), [0, 1, 2, 3]),
        (Sampler(min_p=0.51), [1]),
    ],
    ids=str,
)
def test_restrictions_among_equals(sampler, kept):
    """Top-p keeps the smallest set that reaches p, top-k and min-p what is likely enough."""
    probabilities = np.array([0.2, 0.4, 0.2, 0.2])
    for order in (slice(None), [3, 1, 0, 2]):  # which of the equals is which does not matter
        logits = np.log(probabilities[order])[None].astype("float32")
        drawn = _probabilities(sampler, logits)
        np.testing.assert_array_equal(np.flatnonzero(drawn), kept)
        np.testing.assert_allclose(
            drawn[kept], probabilities[kept] / probabilities[kept].sum(), rtol=1e-5
        )


@pytest.mark.parametrize("size", [4, 10, 50])
def test_the_nucleus_of_equals_is_as_small_as_its_sum_allows(size):
    """k of n equals reach k / n; one more is needed for anything above."""
    logits = np.zeros((1, size), "float32")
    for count in (1, size // 4 + 1, size - 1):
        for top_p, expected in ((count / size, count), ((count + 0.5) / size, count + 1)):
            kept = np.asarray(Sampler(top_p=top_p).distribution(logits))[0] > -1e29
            np.testing.assert_array_equal(np.flatnonzero(kept), np.arange(expected))


def test_the_nucleus_is_numpys_on_rows_full_of_equals():
    random = np.random.default_rng(0)
    probabilities = random.integers(1, 4, size=(50, 30)).astype("float64")
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = Sampler(top_p=0.55).distribution(np.log(probabilities).astype("float32"))
    for row, kept in zip(probabilities, np.asarray(found) > -1e29):
        order = np.argsort(-row, kind="stable")
        count = np.searchsorted(np.cumsum(row[order]), 0.55 - 1e-6) + 1
        np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(order[:count]))


def test_each_row_is_restricted_by_itself():
    logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.34, 0.33, 0.33]]).astype("float32")
    kept = np.asarray(Sampler(top_p=0.65).distribution(logits)) > -1e29
    np.testing.assert_array_equal(kept, [[1, 0, 0], [0, 0, 1], [1, 1, 0]])  # 0.34 + 0.33 reach it


def test_half_precision_logits_give_float32_log_probs():
    logits = ops.cast(LOGITS, "bfloat16")
    tokens, log_probs = Sampler(0.9).choose(logits, _uniforms(1))
    assert ops.dtype(tokens) == "int32" and ops.dtype(log_probs) == "float32"
    rounded = np.asarray(ops.cast(logits, "float32"), "float64")[0] / 0.9
    expected = rounded - np.log(np.exp(rounded).sum())
    np.testing.assert_allclose(log_probs, expected[np.asarray(tokens)], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 80.0, 1e4])
def test_log_probs_hold_at_any_scale_of_the_logits(scale):
    logits = (scale * np.random.default_rng(0).normal(size=(64, 37))).astype("float32")
    tokens, log_probs = Sampler().choose(logits, _uniforms(64))
    exact = logits - np.max(logits, axis=1, keepdims=True).astype("float64")
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    chosen = np.take_along_axis(exact, np.asarray(tokens)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(log_probs, chosen, atol=2e-6, rtol=1e-6)


def test_greedy_takes_the_first_of_the_likeliest():
    logits = np.array([[0.0, 2.0, 2.0], [5.0, 1.0, 0.0]], "float32")
    tokens, log_probs = Greedy().choose(logits, np.zeros(2, "float32"))
    assert ops.dtype(tokens) == "int32"
    np.testing.assert_array_equal(tokens, [1, 0])
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(log_probs, log_softmax[[0, 1], [1, 0]], atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 30])
def test_inversion_finds_the_interval_of_each_uniform(size):
    """Against the definition: the first index whose running sum exceeds u times the total.

    The weights are small integers, so that every sum is exact; zeros stand among them.
    """
    random = np.random.default_rng(size)
    weights = random.integers(0, 4, size=(400, size)).astype("float32")
    weights[np.arange(400), random.integers(0, size, 400)] += 1
    uniforms = _uniforms(400, size)
    uniforms[:2] = 0, LAST_UNIFORM
    indices, totals = invert_cumulative(weights, uniforms)
    np.testing.assert_array_equal(totals, weights.sum(axis=1))
    running = weights.cumsum(axis=1)
    expected = np.argmax(running > (uniforms * running[:, -1])[:, None], axis=1)
    np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize("size", [3, 10, 50])
def test_frequencies_are_the_probabilities(size):
    """Chi-square over all entries, within 4 standard deviations; zeros are never drawn."""
    count = 100_000
    weights = np.random.default_rng(size).gamma(0.5, size=size).astype("float32")
    weights[1] = 0.0
    indices, _ = invert_cumulative(np.tile(weights, (count, 1)), _uniforms(count, 5))
    drawn = np.bincount(np.asarray(indices), minlength=size)
    assert drawn[1] == 0
    probabilities = weights / weights.sum(dtype="float64")
    expected = count * probabilities
    error = np.sqrt(expected * (1 - probabilities))
    assert (np.abs(drawn - expected) <= 4 * error + 1e-9).all()


@pytest.mark.parametrize("size", [1, 6, 50_257])
def test_entries_of_probability_zero_are_never_drawn(size):
    """A single positive entry anywhere is found, however far the uniform lies from it."""
    places = np.unique(np.linspace(0, size - 1, 12).astype(int))
    weights = np.zeros((len(places), size), "float32")
    weights[np.arange(len(places)), places] = 0.3
    for u in (0.0, 0.5, LAST_UNIFORM):
        indices, totals = invert_cumulative(weights, np.full(len(places), u, "float32"))
        np.testing.assert_array_equal(indices, places)
        np.testing.assert_allclose(totals, 0.3, rtol=1e-6)


def test_a_uniform_next_to_one_draws_the_last_positive_entry():
    weights = np.full((1, 50_257), 1.0, "float32")
    weights[0, -5:] = 0.0
    for u, expected in ((0.0, 0), (0.5, 50_252 // 2), (LAST_UNIFORM, 50_251)):
        indices, _ = invert_cumulative(weights, np.array([u], "float32"))
        assert abs(int(indices[0]) - expected) <= 1


def test_large_vocabulary_draws_from_the_right_places():
    """Quantiles of a steep distribution over 50,257 entries against a float64 running sum."""
    weights = np.random.default_rng(0).gamma(0.1, size=50_257).astype("float32")
    uniforms = _uniforms(500)
    indices, totals = invert_cumulative(np.tile(weights, (500, 1)), uniforms)
    running = np.cumsum(weights, dtype="float64") / weights.sum(dtype="float64")
    indices, totals = np.asarray(indices), np.asarray(totals)
    assert (weights[indices] > 0).all()
    assert (running[indices] > uniforms - 1e-5).all()
    assert (running[indices] - weights[indices] / totals[0] < uniforms + 1e-5).all()
    np.testing.assert_allclose(totals, weights.sum(dtype="float64"), rtol=1e-5)


@pytest.mark.parametrize(
    "choices, message",
    [
        ({"temperature": 0}, "use Greedy.*Received: temperature=0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "positive and finite.*temperature=inf"),
        ({"temperature": -1e-30}, "temperature=-1e-30"),
        ({"temperature": "1"}, "temperature=1"),
        ({"temperature": None}, "temperature=None"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"min_p": 1.0}, "min_p=1.0"),
        ({"min_p": -0.1}, "min_p=-0.1"),
    ],
)
def test_choices_out_of_range_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**choices)


def test_full_support_is_known():
    assert Sampler(temperature=0.3).has_full_support
    for restricted in (Sampler(top_k=5), Sampler(top_p=0.9), Sampler(min_p=0.1)):
        assert not restricted.has_full_support


@pytest.mark.parametrize(
    "rows",
    [
        [{}, {"top_k": 2}, {"min_p": 0.3}, {"top_p": 0.5}],
        [{"top_k": 1}, {"top_k": 99}, {"top_k": 5}, {"temperature": 0.5}],
        [{"temperature": 2.0, "top_k": 4, "top_p": 0.8, "min_p": 0.3}, {}, {"min_p": 0.99}, None],
    ],
)
def test_rows_with_settings_of_their_own_are_sampled_as_alone(rows):
    """None is the most likely token. Two of the five tokens are equals."""
    logits = np.log(np.array([[0.05, 0.4, 0.2, 0.2, 0.15]])).astype("float32")
    defaults = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
    settings = [defaults | ({"temperature": 0.0} if row is None else row) for row in rows]
    columns = [np.array([row[name] for row in settings]) for name in defaults]
    kinds = ("float32", "float32", "int32", "float32")
    sampler = RowSampler(*(column.astype(kind) for column, kind in zip(columns, kinds)))
    for uniform_number in np.linspace(0, 0.999, 25, dtype="float32"):
        uniforms = np.full(len(rows), uniform_number)
        tokens, log_probs = map(
            np.asarray, sampler.choose(np.repeat(logits, len(rows), 0), uniforms)
        )
        for row, choices in enumerate(rows):
            alone = Greedy() if choices is None else Sampler(**choices)
            token, log_prob = alone.choose(logits, uniforms[:1])
            assert tokens[row] == int(token[0])
            np.testing.assert_allclose(log_probs[row], float(log_prob[0]), rtol=1e-5, atol=1e-6)
