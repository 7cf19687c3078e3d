"""Laws are recovered from their own points; best-of-n against every subset."""

import itertools

import numpy as np
import pytest

from tfalign.evaluation.overoptimisation import (
    best_of_n_kl,
    best_of_n_means,
    fit_best_of_n,
    fit_rl,
)

DISTANCE = np.linspace(0.1, 4.0, 30)


@pytest.mark.parametrize(
    ("fit", "bend"), [(fit_best_of_n, lambda d: d), (fit_rl, np.log)], ids=["best_of_n", "rl"]
)
def test_recovers_the_law(fit, bend):
    law = fit(DISTANCE, DISTANCE * (1.3 - 0.4 * bend(DISTANCE)))
    assert (law.alpha, law.beta, law.r_squared) == pytest.approx((1.3, 0.4, 1.0))
    np.testing.assert_allclose(law(DISTANCE), DISTANCE * (1.3 - 0.4 * bend(DISTANCE)))


def test_noise_stays_within_its_standard_error():
    noise = np.random.default_rng(0).normal(0, 0.1, DISTANCE.size)
    law = fit_best_of_n(DISTANCE, DISTANCE * (1.3 - 0.4 * DISTANCE) + noise)
    design = np.stack([DISTANCE, -(DISTANCE**2)], axis=1)
    errors = 0.1 * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    assert np.all(np.abs([law.alpha - 1.3, law.beta - 0.4]) < 3 * errors)
    assert 0.9 < law.r_squared < 1


def test_points_at_the_reference_are_left_out():
    gain = DISTANCE * (1.0 - 0.5 * np.log(DISTANCE))
    law = fit_rl(np.append(DISTANCE, [0.0, -1.0]), np.append(gain, [5.0, 5.0]))
    assert law.alpha == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two different positive distances"):
        fit_rl(np.array([0.0, 1.0, 1.0]), np.zeros(3))


def test_best_of_n_is_the_mean_over_all_subsets():
    generator = np.random.default_rng(0)
    scores, rewards = generator.normal(size=(2, 3, 7))
    sizes = np.arange(1, 8)
    expected = [
        np.mean(
            [
                reward[max(subset, key=lambda i: score[i])]
                for score, reward in zip(scores, rewards)
                for subset in itertools.combinations(range(7), int(n))
            ]
        )
        for n in sizes
    ]
    np.testing.assert_allclose(best_of_n_means(scores, rewards, sizes), expected)


def test_best_of_n_of_many_samples_is_finite_and_reaches_the_maximum():
    scores = np.random.default_rng(0).normal(size=(1, 5000))
    assert best_of_n_means(scores, scores, [1, 2500, 5000]) == pytest.approx(
        [scores.mean(), best_of_n_means(scores, scores, [2500])[0], scores.max()]
    )


def test_kl_is_that_of_the_enumerated_distribution():
    """Best of n of V equally likely tokens, V large: the distribution of the largest's rank."""
    tokens = 100_000
    ranks = np.arange(1, tokens + 1) / tokens
    for n in (1, 2, 8, 64):
        best = ranks**n - (ranks - 1 / tokens) ** n
        seen = best > 0
        kl = np.sum(best[seen] * np.log(best[seen] * tokens))
        assert best_of_n_kl(n) == pytest.approx(kl, abs=1e-3)


@pytest.mark.parametrize(
    ("scores", "sizes", "message"),
    [
        (np.zeros((2, 3)), [0], "n=0"),
        (np.zeros((2, 3)), [4], "n=4"),
        (np.zeros(3), [1], r"one shape \[P, N\]"),
    ],
)
def test_refuses(scores, sizes, message):
    with pytest.raises(ValueError, match=message):
        best_of_n_means(scores, scores, sizes)
