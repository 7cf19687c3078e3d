"""Losses of preferences: worked by hand, and finite wherever log-probs may go."""

import numpy as np
import pytest

from tfalign.functional import preference_losses as losses


def one(*numbers):
    return [np.array([number], "float32") for number in numbers]


def of_log_ratios(loss):
    """The loss as a function of two policies' log-probs of two responses."""
    return lambda *log_probs: loss(losses.log_ratio_gap(*log_probs))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_dpo_by_hand(label_smoothing, compiled):
    # h = (log 9 - 0) - (0 - 0), beta 1/2: sigma(beta h) = 3/4. The gradient of the chosen one is
    # beta * (sigma(beta h) - (1 - s)).
    loss = of_log_ratios(lambda gaps: losses.dpo_loss(gaps, 0.5, label_smoothing))
    values, gradients = compiled(loss)(*one(np.log(9.0), 0.0, 0.0, 0.0))
    expected = -(1 - label_smoothing) * np.log(0.75) - label_smoothing * np.log(0.25)
    np.testing.assert_allclose(values, [expected], rtol=1e-6)
    slope = 0.5 * (0.75 - (1 - label_smoothing))
    np.testing.assert_allclose(gradients, [[slope], [-slope], [0.0], [0.0]], rtol=1e-5)


def test_robust_dpo_by_hand(compiled):
    loss = of_log_ratios(lambda gaps: losses.robust_dpo_loss(gaps, 0.5, 0.2))
    values, gradients = compiled(loss)(*one(np.log(9.0), 0.0, 0.0, 0.0))
    expected = (-0.8 * np.log(0.75) + 0.2 * np.log(0.25)) / 0.6
    np.testing.assert_allclose(values, [expected], rtol=1e-5)
    slope = 0.5 * (-0.8 * 0.25 - 0.2 * 0.75) / 0.6
    np.testing.assert_allclose(gradients, [[slope], [-slope], [0.0], [0.0]], rtol=1e-5)


def test_robust_dpo_in_the_mean_over_wrong_labels_is_dpo(rng):
    gaps, wrong = rng.normal(size=50).astype("float32"), 0.3
    right_way, wrong_way = (
        np.asarray(losses.robust_dpo_loss(x, 0.7, wrong)) for x in (gaps, -gaps)
    )
    np.testing.assert_allclose(
        (1 - wrong) * right_way + wrong * wrong_way, losses.dpo_loss(gaps, 0.7), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("gap", "loss", "slope"), [(0.0, 1.0, -0.5), (1.0, 0.5, -0.5), (-2.0, 2.0, -0.5), (3.0, 0, 0)]
)
def test_hinge_by_hand(gap, loss, slope, compiled):
    values, (gradient,) = compiled(lambda gaps: losses.hinge_loss(gaps, 0.5))(*one(gap))
    np.testing.assert_allclose([*values, *gradient], [loss, slope])


@pytest.mark.parametrize(("gap", "loss", "slope"), [(0.0, 4.0, -4.0), (2.0, 0.0, 0), (3.0, 1.0, 2)])
def test_ipo_by_hand(gap, loss, slope, compiled):
    values, (gradient,) = compiled(lambda gaps: losses.ipo_loss(gaps, 0.25))(*one(gap))
    np.testing.assert_allclose([*values, *gradient], [loss, slope])


def test_simpo_by_hand(compiled):
    """beta h - gamma = 2 * 1.5 - (3 - log 3) = log 3."""
    values, (gradient,) = compiled(lambda gaps: losses.simpo_loss(gaps, 2.0, 3 - np.log(3)))(
        *one(1.5)
    )
    np.testing.assert_allclose([*values, *gradient], [-np.log(0.75), -0.5], rtol=1e-5)


def test_log_odds_ratio_by_hand(compiled):
    """Odds of 3 and of 1/4; d log odds / d log p = 1 / (1 - p)."""
    values, gradients = compiled(losses.log_odds_ratio)(*one(np.log(0.75), np.log(0.2)))
    np.testing.assert_allclose(values, [np.log(12)], rtol=1e-6)
    np.testing.assert_allclose(gradients, [[4.0], [-1.25]], rtol=1e-5)


def test_log_odds_are_exact_at_both_ends(compiled):
    log_probs = np.array([-1e-5, -0.01, -0.69, -0.7, -5.0, -40.0, -200.0], "float32")
    values, _ = compiled(losses.log_odds_ratio)(log_probs, np.full(7, np.log(0.5), "float32"))
    exact = log_probs.astype("float64")
    np.testing.assert_allclose(values, exact - np.log(-np.expm1(exact)), rtol=1e-5, atol=1e-6)


def test_kto_by_hand(compiled):
    """beta (Delta - z) = 0.5 (3 - (3 - 2 log 3)) = log 3: sigma is 3/4."""
    log_ratios = np.array([3.0, 3.0], "float32")
    loss = lambda x, z: losses.kto_loss(x, z, np.array([True, False]), 0.5, 2.0, 4.0)  # noqa: E731
    values, (gradient, by_point) = compiled(loss)(log_ratios, np.float32(3 - 2 * np.log(3)))
    np.testing.assert_allclose(values, [2 * 0.25, 4 * 0.75], rtol=1e-5)
    slope = 0.5 * 0.75 * 0.25
    np.testing.assert_allclose(gradient, [-2 * slope, 4 * slope], rtol=1e-5)
    assert by_point == 0


def test_kto_reference_point_by_hand(compiled):
    mismatched, present = np.array([1.0, 3.0, 100.0], "float32"), np.array([True, True, False])
    value, (gradient,) = compiled(losses.kto_reference_point)(mismatched, present)
    assert value == 2.0 and not gradient.any()
    assert losses.kto_reference_point(-mismatched, present) == 0
    assert losses.kto_reference_point(mismatched, present & False) == 0


OF_GAPS = {
    "dpo": losses.dpo_loss,
    "cdpo": lambda gaps: losses.dpo_loss(gaps, 0.5, 0.1),
    "robust": losses.robust_dpo_loss,
    "hinge": losses.hinge_loss,
    "ipo": losses.ipo_loss,
    "simpo": losses.simpo_loss,
    "kto": lambda gaps: losses.kto_loss(gaps, gaps[0], gaps > 1),
}


@pytest.mark.parametrize("name", OF_GAPS)
def test_extreme_log_probs_leave_everything_finite(name, rng, compiled):
    """Cauchy draws of scales from 1 to 1e7 nats."""
    scales = np.repeat([1.0, 1e2, 1e4, 1e7], 64)
    log_probs = -np.minimum(np.abs(scales * rng.standard_t(1, size=(4, 256))), 1e12)
    values, gradients = compiled(of_log_ratios(OF_GAPS[name]))(*log_probs.astype("float32"))
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    assert not np.any(gradients[2:]) and np.any(gradients[:2])  # none for the reference's


def test_log_odds_are_finite_from_certain_to_impossible(compiled):
    edges = np.array([0.0, 1e-9, -1e-9, -1e-7, -1e-4, -np.log(2), -90.0, -1e4, -1e30], "float32")
    chosen, rejected = (x.ravel() for x in np.meshgrid(edges, edges))
    values, gradients = compiled(lambda *x: losses.dpo_loss(losses.log_odds_ratio(*x), 1.0))(
        chosen, rejected
    )
    assert np.isfinite(values).all() and np.isfinite(gradients).all()


def test_equal_responses_have_no_gradient(compiled):
    """Both sides move alike: nothing is learned, whatever the loss."""

    def every_loss(*log_probs):
        return sum(of_log_ratios(loss)(*log_probs) for loss in OF_GAPS.values())

    values, gradients = compiled(every_loss)(*one(-3.0, -3.0, -4.0, -4.0))
    assert np.isfinite(values).all()
    np.testing.assert_allclose(gradients[0] + gradients[1], [0.0])


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda x: losses.dpo_loss(x, beta=0), "beta=0"),
        (lambda x: losses.dpo_loss(x, beta=float("nan")), "beta=nan"),
        (lambda x: losses.dpo_loss(x, label_smoothing=0.5), "label_smoothing=0.5"),
        (lambda x: losses.robust_dpo_loss(x, label_smoothing=-0.1), "label_smoothing=-0.1"),
        (lambda x: losses.hinge_loss(x, beta=-1.0), "beta=-1.0"),
        (lambda x: losses.ipo_loss(x, beta=0.0), "beta=0.0"),
        (lambda x: losses.simpo_loss(x, gamma=-1.0), "gamma=-1.0"),
        (lambda x: losses.kto_loss(x, 0.0, x > 0, undesirable_weight=-2), "undesirable_weight=-2"),
    ],
)
def test_options_out_of_range_are_refused(call, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        call(np.zeros(1, "float32"))
