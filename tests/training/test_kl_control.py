"""The KL coefficient by hand."""

import json

import pytest

from tfalign.training.kl_control import AdaptiveKL, FixedKL


@pytest.mark.parametrize(
    ("kl", "episodes", "expected"),
    [
        (6.0, 100, 0.15),  # at the target
        (6.6, 100, 0.15 * 1.001),  # 10% too much: 0.1 * 100 / 10,000
        (5.4, 100, 0.15 * 0.999),
        (7.2, 512, 0.15 * (1 + 0.2 * 0.0512)),  # the error is clipped at 20%
        (600.0, 512, 0.15 * (1 + 0.2 * 0.0512)),
        (0.0, 512, 0.15 * (1 - 0.2 * 0.0512)),
        (-3.0, 512, 0.15 * (1 - 0.2 * 0.0512)),  # an estimate of the KL may be negative
    ],
)
def test_adaptive(kl, episodes, expected):
    control = AdaptiveKL()
    control.update(kl, episodes)
    assert control.coefficient == pytest.approx(expected, rel=1e-12)


def test_adaptive_compounds_and_settles():
    control = AdaptiveKL(0.1, target=2.0, horizon=100)
    for _ in range(3):
        control.update(4.0, 50)
    assert control.coefficient == pytest.approx(0.1 * 1.1**3)
    for _ in range(300):  # a policy whose KL falls as the coefficient rises: 0.5 / beta
        control.update(0.5 / control.coefficient, 50)
    assert control.coefficient == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("kl", [float("nan"), float("inf"), float("-inf")])
def test_a_kl_that_is_not_finite_moves_nothing(kl):
    control = AdaptiveKL()
    control.update(kl, 512)
    assert control.coefficient == 0.15


def test_fixed_stays():
    control = FixedKL(0.05)
    control.update(100.0, 512)
    assert control.coefficient == 0.05


@pytest.mark.parametrize("kind", [FixedKL, AdaptiveKL])
def test_state_survives_json(kind):
    control = kind(0.3)
    control.update(7.1, 333)
    other = kind()
    other.restore(json.loads(json.dumps(control.state())))
    assert other.coefficient == control.coefficient
    for each in (control, other):
        each.update(5.0, 100)
    assert other.coefficient == control.coefficient


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedKL(-0.1), "coefficient=-0.1"),
        (lambda: FixedKL(float("nan")), "coefficient=nan"),
        (lambda: AdaptiveKL(float("inf")), "coefficient=inf"),
        (lambda: AdaptiveKL(horizon=10).update(7.0, 64), "horizon=10"),
        (lambda: AdaptiveKL(-0.1), "coefficient=-0.1"),
        (lambda: AdaptiveKL(target=0), "target=0, horizon=10000"),
        (lambda: AdaptiveKL(horizon=-1), "target=6.0, horizon=-1"),
    ],
)
def test_wrong_choices_are_told(make, message):
    with pytest.raises(ValueError, match=f"Received: {message}"):
        make()
