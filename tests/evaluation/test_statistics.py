"""Statistics against numbers worked by hand, published tables and simulation."""

import numpy as np
import pytest

from tfalign.evaluation.statistics import (
    calibration,
    mean_interval,
    pair_accuracy,
    preference_calibration,
    reward_by_kl,
    spearman,
    wilson_interval,
    win_rate,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]
    + [(1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_the_published_one(successes, trials, low, high):
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3.
    interval = wilson_interval(successes, trials)
    assert interval.value == successes / trials
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_at_the_ends_is_a_mirror_image_within_0_and_1():
    none, every = wilson_interval(0, 12), wilson_interval(12, 12)
    assert none.low == 0.0 and every.high == 1.0
    assert none.high == pytest.approx(1 - every.low)
    assert every.low < 0.8


def test_wilson_interval_covers_at_its_rate():
    random = np.random.default_rng(0)
    covered = [
        interval.low <= 0.9 <= interval.high
        for interval in (wilson_interval(k, 100) for k in random.binomial(100, 0.9, 4000))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match=f"Received: successes={successes}, trials={trials}"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize(
    ("scores", "baseline", "value", "counts"),
    [
        ([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 1.0, 5.0], 2.5 / 4, (2, 1, 1)),
        ([1, 1], [1, 1], 0.5, (0, 2, 0)),
        ([2, 2, 2], [1, 1, 1], 1.0, (3, 0, 0)),
        ([0], [1], 0.0, (0, 0, 1)),
    ],
)
def test_win_rate_counts_a_tie_one_half(scores, baseline, value, counts):
    rate = win_rate(scores, baseline)
    assert rate.value == value
    assert (rate.wins, rate.ties, rate.losses) == counts
    assert (rate.low, rate.high) == wilson_interval(value * len(scores), len(scores))[1:]


def test_win_rate_of_the_other_side_is_the_rest():
    random = np.random.default_rng(1)
    first, second = random.integers(0, 4, (2, 50))
    ours, theirs = win_rate(first, second), win_rate(second, first)
    assert ours.value + theirs.value == pytest.approx(1)
    assert (ours.low, ours.high) == pytest.approx((1 - theirs.high, 1 - theirs.low))


@pytest.mark.parametrize(
    ("scores", "baseline", "message"),
    [
        ([1, 2], [1], r"shapes \(2,\) and \(1,\)"),
        ([], [], r"shapes \(0,\) and \(0,\)"),
        ([[1.0]], [[1.0]], r"shapes \(1, 1\) and \(1, 1\)"),
        ([1.0, 2.0], [1.0, np.nan], "baseline_scores must be numbers. Received: NaN at row 1"),
    ],
)
def test_scores_that_are_no_pairs_are_refused(scores, baseline, message):
    with pytest.raises(ValueError, match=message):
        win_rate(scores, baseline)


def test_mean_interval_by_hand():
    # Mean 3, squared deviations 4 + 1 + 0 + 1 + 4 = 10, s^2 = 2.5, s / sqrt(5) = sqrt(0.5).
    interval = mean_interval([1, 2, 3, 4, 5])
    half = 1.959964 * 0.5**0.5
    assert interval == pytest.approx((3, 3 - half, 3 + half), abs=1e-6)
    with pytest.raises(ValueError, match="at least two values. Received: 1"):
        mean_interval([1.0])


def test_pair_accuracy_counts_a_tie_one_half():
    assert pair_accuracy([1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]).value == 2.5 / 4


def test_calibration_by_hand():
    # Bins [0, 0.5] and (0.5, 1]. First: confidences 0.2, 0.4, 0.5, mean 1.1/3, right 1 of 3.
    # Second: 0.6, 0.9, mean 0.75, right 2 of 2. Error: (3 * |1/3 - 1.1/3| + 2 * 0.25) / 5.
    result = calibration([0.2, 0.6, 0.4, 0.9, 0.5], [0, 1, 1, 1, 0], bins=2)
    np.testing.assert_allclose(result.edges, [0, 0.5, 1])
    np.testing.assert_array_equal(result.counts, [3, 2])
    np.testing.assert_allclose(result.confidence, [1.1 / 3, 0.75])
    np.testing.assert_allclose(result.accuracy, [1 / 3, 1])
    assert result.expected_error == pytest.approx((0.1 + 0.5) / 5)


def test_an_empty_bin_is_nan_and_weighs_nothing():
    result = calibration([0.0, 1.0], [0, 1], bins=4)
    np.testing.assert_array_equal(result.counts, [1, 0, 0, 1])
    assert np.isnan(result.accuracy[1]) and np.isnan(result.confidence[2])
    assert result.expected_error == 0.0


def test_calibration_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match=r"lie in \[0.0, 1\]. Received: from 0.5 to 1.5"):
        calibration([0.5, 1.5], [0, 1])
    with pytest.raises(ValueError, match="Received: bins=0"):
        calibration([0.5], [1], bins=0)


def test_preference_calibration_by_hand():
    # Log-odds log 4, -log 4, 0: confident 0.8 and right, 0.8 and wrong, 0.5 and half right.
    scores = np.log(4.0) * np.array([1.0, -1.0, 0.0])
    result = preference_calibration(scores, np.zeros(3), bins=5)
    np.testing.assert_array_equal(result.counts, [1, 0, 2, 0, 0])
    np.testing.assert_allclose(result.accuracy[[0, 2]], [0.5, 0.5])
    assert result.expected_error == pytest.approx(2 / 3 * 0.3)


def test_labels_drawn_from_the_models_own_probabilities_are_calibrated():
    random = np.random.default_rng(2)
    log_odds = random.normal(0, 2, 40_000)
    first_is_chosen = random.uniform(size=log_odds.size) < 1 / (1 + np.exp(-log_odds))
    chosen = np.where(first_is_chosen, log_odds, 0)
    rejected = np.where(first_is_chosen, 0, log_odds)
    assert preference_calibration(chosen, rejected).expected_error < 0.01
    assert preference_calibration(3 * chosen, 3 * rejected).expected_error > 0.08


def test_reward_by_kl_averages_neighbours_in_kl():
    curve = reward_by_kl([4.0, 1.0, 3.0, 2.0], [40.0, 10.0, 30.0, 20.0], groups=2)
    np.testing.assert_allclose(curve.kl, [1.5, 3.5])
    np.testing.assert_allclose(curve.reward, [15.0, 35.0])
    assert reward_by_kl([1.0], [2.0], groups=12).reward.tolist() == [2.0]
    with pytest.raises(ValueError, match="Received: groups=0"):
        reward_by_kl([1.0], [2.0], groups=0)


def test_rank_correlation_equals_scipys_with_ties():
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, size=(2, 200))
    assert spearman(first, second + first) == pytest.approx(spearmanr(first, second + first)[0])
    assert spearman([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="values that vary"):
        spearman([1, 1], [1, 2])
