import numpy as np
import pytest

from tfalign.functional import losses


def test_policy_gradient_loss_by_hand(compiled):
    log_probs = np.array([[-1.0, -2.0]], "float32")
    values, (gradient, by_advantages) = compiled(losses.policy_gradient_loss)(
        log_probs, np.array([[3.0, -0.5]], "float32")
    )
    np.testing.assert_array_equal(values, [[3.0, -1.0]])
    np.testing.assert_array_equal(gradient, [[-3.0, 0.5]])
    np.testing.assert_array_equal(by_advantages, [[0.0, 0.0]])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [  # clip 0.2; the gradient is -ratio * advantage, or 0 where the clip decides
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),
        (1.5, -2.0, 3.0, 3.0),
        (0.5, 2.0, -1.0, -1.0),
        (0.5, -2.0, 1.6, 0.0),
    ],
)
def test_clipped_policy_loss_on_either_side_of_the_clip(ratio, advantage, loss, gradient, compiled):
    old_log_probs = np.array([[-3.0]], "float32")
    arrays = old_log_probs + np.log(np.float32(ratio)), old_log_probs
    advantages = np.array([[advantage]], "float32")
    values, gradients = compiled(lambda *args: losses.clipped_policy_loss(*args, 0.2))(
        *arrays, advantages
    )
    np.testing.assert_allclose(values, [[loss]], rtol=1e-5)
    np.testing.assert_allclose(gradients[0], [[gradient]], rtol=1e-5)
    np.testing.assert_array_equal(gradients[1:], np.zeros((2, 1, 1)))
    active = losses.clip_is_active(*arrays, advantages, 0.2)
    np.testing.assert_array_equal(active, [[gradient == 0.0]])


def test_clip_high_widens_the_upper_side_alone():
    ratios = np.array([[1.25, 0.75]], "float32")
    zeros = np.zeros_like(ratios)
    values = losses.clipped_policy_loss(
        np.log(ratios), zeros, np.array([[1.0, -1.0]], "float32"), 0.2, clip_high=0.28
    )
    np.testing.assert_allclose(values, [[-1.25, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("log_ratio", [-1e30, -200.0, 200.0, 1e30])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_clipped_policy_loss_is_finite_at_extreme_ratios(log_ratio, advantage, compiled):
    values, gradients = compiled(lambda *args: losses.clipped_policy_loss(*args, 0.2))(
        np.array([[log_ratio]], "float32"),
        np.zeros((1, 1), "float32"),
        np.array([[advantage]], "float32"),
    )
    assert np.isfinite(values).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [  # old value 1, clip 0.2
        (1.1, 2.0, 0.405, -0.9),  # inside the clip
        (1.5, 2.0, 0.32, 0.0),  # moved too far towards the target: (1.2 - 2)**2 is the worse
        (0.5, 2.0, 1.125, -1.5),  # moved away from it: (0.5 - 2)**2 is the worse
        (1.5, 0.0, 1.125, 1.5),
        (0.5, 0.0, 0.32, 0.0),
    ],
)
def test_clipped_value_loss(value, target, loss, gradient, compiled):
    values, gradients = compiled(lambda *args: losses.clipped_value_loss(*args, 0.2))(
        *(np.array([[number]], "float32") for number in (value, 1.0, target))
    )
    np.testing.assert_allclose(values, [[loss]], rtol=1e-5)
    np.testing.assert_allclose(gradients[0], [[gradient]], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(gradients[1:], np.zeros((2, 1, 1)))


def test_bradley_terry_by_hand(compiled):
    chosen, rejected = np.log(np.array([[3.0, 1.0], [1.0, 1.0]], "float32"))
    values, (gradient, _) = compiled(losses.bradley_terry_loss)(chosen, rejected)
    np.testing.assert_allclose(values, [np.log(4 / 3), np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [-0.25, -0.5], rtol=1e-6)
    margin = np.array([np.log(3.0), 0.0], "float32")
    values = losses.bradley_terry_loss(chosen, rejected, margin)
    np.testing.assert_allclose(values, [np.log(2), np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("gap", [-1e4, 1e4])
def test_bradley_terry_is_finite_at_extreme_scores(gap, compiled):
    values, (gradient, _) = compiled(losses.bradley_terry_loss)(
        np.array([gap], "float32"), np.zeros(1, "float32")
    )
    np.testing.assert_allclose(values, [max(-gap, 0.0)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [-1.0 if gap < 0 else 0.0], atol=1e-6)


def test_scores_of_pairs_by_hand():
    chosen, rejected = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 3.0]], "float32")
    np.testing.assert_array_equal(losses.score_centering_loss(chosen, rejected), [9, 4, 9])
    np.testing.assert_array_equal(losses.pair_accuracy(chosen, rejected), [1.0, 0.5, 0.0])


def test_a_ranking_by_hand(compiled):
    """Scores log 4, log 2, log 1: the best is chosen with 4/7, the second among the rest with 2/3."""
    scores = np.log(np.array([[4.0, 2.0, 1.0], [1.0, 1.0, 9.0], [5.0, 1.0, 1.0]], "float32"))
    present = np.array([[True, True, True], [True, True, False], [True, False, False]])
    values, (gradient,) = compiled(losses.plackett_luce_loss)(scores, present)
    expected = [-np.log(4 / 7) - np.log(2 / 3), np.log(2), 0.0]
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)
    # of row 0: softmax over all less the best, and over the last two less the second
    slopes = [[4 / 7 - 1, 2 / 7 + 2 / 3 - 1, 1 / 7 + 1 / 3], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(gradient, slopes, atol=1e-6)
    values, (gradient,) = compiled(losses.best_of_k_loss)(scores, present)
    np.testing.assert_allclose(values, [-np.log(4 / 7), np.log(2), 0.0], rtol=1e-6, atol=1e-7)
    slopes = [[4 / 7 - 1, 2 / 7, 1 / 7], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(gradient, slopes, atol=1e-6)


@pytest.mark.parametrize("loss", [losses.plackett_luce_loss, losses.best_of_k_loss])
def test_a_ranking_of_two_is_bradley_terry(loss, rng):
    scores = rng.normal(size=(5, 2)).astype("float32")
    np.testing.assert_allclose(
        loss(scores, np.ones((5, 2), "bool")),
        losses.bradley_terry_loss(scores[:, 0], scores[:, 1]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("loss", [losses.plackett_luce_loss, losses.best_of_k_loss])
def test_rankings_are_finite_at_extreme_scores_and_without_responses(loss, rng, compiled):
    scores = (1e4 * rng.normal(size=(64, 4))).astype("float32")
    present = rng.random((64, 4)) < 0.5
    values, (gradient,) = compiled(loss)(scores, present)
    assert np.isfinite(values).all() and np.isfinite(gradient).all()
    assert not gradient[~present].any() and not values[present.sum(axis=1) < 2].any()
    assert (values >= 0).all() and np.abs(gradient).max() > 0.5


def test_binary_loss_by_hand(compiled):
    logits = np.array([[np.log(3.0), np.log(3.0), 1e4, 1e4]], "float32")
    labels = np.array([[True, False, True, False]])
    values, (gradient,) = compiled(losses.binary_loss)(logits, labels)
    np.testing.assert_allclose(values, [[-np.log(0.75), -np.log(0.25), 0.0, 1e4]], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.25, 0.75, 0.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda x: losses.clipped_policy_loss(x, x, x, -1), "clip=-1"),
        (lambda x: losses.clipped_policy_loss(x, x, x, 0.2, 0.0), "clip_high=0.0"),
        (lambda x: losses.clipped_value_loss(x, x, x, 0), "clip=0"),
    ],
)
def test_options_out_of_range_are_refused(call, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        call(np.zeros((1, 1), "float32"))
