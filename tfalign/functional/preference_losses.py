"""Losses of preferences, one number a pair of responses or a response; the caller reduces.

A loss of pairs is a function of their gap: how much more than the other one the policy favours the
preferred response. What the gap is made of is half of a method, the loss the other half:

    log_ratio_gap        log-probs relative to a reference           DPO, IPO, SLiC
    a plain difference   of log-probs, or of their means a token     CPO, SimPO
    log_odds_ratio       of the mean token's odds                    ORPO

A reference's log-probs get no gradient here, whether or not the caller has stopped it.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.masking import masked_mean

# The largest log-prob whose odds are taken: 1 - p must not round to 0.
_ALMOST_CERTAIN = -1e-6


def log_ratio_gap(
    chosen_log_probs: Array,
    rejected_log_probs: Array,
    ref_chosen_log_probs: Array,
    ref_rejected_log_probs: Array,
) -> Array:
    """log pi / pi_ref of the preferred response less that of the other (Rafailov et al. 2023, eq. 7).

    beta times it is the difference of the rewards for which the policy would be optimal.

    Args:
        chosen_log_probs: float32[B], of the preferred response, nats.
        rejected_log_probs: float32[B], of the other.
        ref_chosen_log_probs: float32[B], under the frozen reference; no gradient flows.
        ref_rejected_log_probs: float32[B], under the frozen reference; no gradient flows.

    Returns:
        float32[B], nats.
    """
    chosen_log_ratios = chosen_log_probs - ops.stop_gradient(ref_chosen_log_probs)
    rejected_log_ratios = rejected_log_probs - ops.stop_gradient(ref_rejected_log_probs)
    return chosen_log_ratios - rejected_log_ratios


def log_odds_ratio(chosen_log_probs: Array, rejected_log_probs: Array) -> Array:
    """log odds of the preferred response less those of the other, odds = p / (1 - p) (Hong et al.
    2024, ORPO, eq. 4 and 5).

    Log-probs above -1e-6 are taken for it: their odds are not finite in float32.

    Args:
        chosen_log_probs: float32[B], mean over the preferred response's tokens, nats.
        rejected_log_probs: float32[B], mean over the other's.

    Returns:
        float32[B], nats.
    """
    return _log_odds(chosen_log_probs) - _log_odds(rejected_log_probs)


def dpo_loss(gaps: Array, beta: float | Array = 0.1, label_smoothing: float | Array = 0.0) -> Array:
    """Direct preference optimisation (Rafailov et al. 2023, eq. 7), labels smoothed as cDPO's.

    -(1 - s) log sigma(beta h) - s log sigma(-beta h) (Mitchell 2023, 'A note on DPO with noisy
    preferences', eq. 3).

    Args:
        gaps: float32[B], h, nats.
        beta: float > 0, strength of the KL constraint.
        label_smoothing: float in [0, 0.5), s, probability that a label is wrong.

    Returns:
        float32[B], nats.

    Raises:
        ValueError: if beta or label_smoothing is a Python number outside its range.
    """
    _check(beta=beta, label_smoothing=label_smoothing)
    agreement, disagreement = ops.log_sigmoid(beta * gaps), ops.log_sigmoid(-beta * gaps)
    return -(1.0 - label_smoothing) * agreement - label_smoothing * disagreement


def robust_dpo_loss(
    gaps: Array, beta: float | Array = 0.1, label_smoothing: float | Array = 0.1
) -> Array:
    """DPO whose mean over wrong labels is DPO on the right ones (Chowdhury et al. 2024, rDPO).

    (-(1 - s) log sigma(beta h) + s log sigma(-beta h)) / (1 - 2 s). It may be negative: it is an
    estimate, and has no lower bound for a single pair.

    Args, returns and errors are those of ``dpo_loss``; s is the fraction of labels that are wrong.
    """
    _check(beta=beta, label_smoothing=label_smoothing)
    agreement, disagreement = ops.log_sigmoid(beta * gaps), ops.log_sigmoid(-beta * gaps)
    weighed = -(1.0 - label_smoothing) * agreement + label_smoothing * disagreement
    return weighed / (1.0 - 2.0 * label_smoothing)


def hinge_loss(gaps: Array, beta: float | Array = 0.1) -> Array:
    """max(0, 1 - beta h): no more once the gap is 1 / beta (Zhao et al. 2023, SLiC-HF; relative to
    a reference: Liu et al. 2024, RSO).

    Args:
        gaps: float32[B], h, nats.
        beta: float > 0.

    Returns:
        float32[B].

    Raises:
        ValueError: if beta is a Python number that is not positive.
    """
    _check(beta=beta)
    return ops.relu(1.0 - beta * gaps)


def ipo_loss(gaps: Array, beta: float | Array = 0.1) -> Array:
    """(h - 1 / (2 beta))**2: identity preference optimisation (Azar et al. 2023, eq. 17).

    Args:
        gaps: float32[B], h, nats.
        beta: float > 0, strength of the KL constraint (the paper's tau).

    Returns:
        float32[B].

    Raises:
        ValueError: if beta is a Python number that is not positive.
    """
    _check(beta=beta)
    return ops.square(gaps - 1.0 / (2.0 * beta))


def simpo_loss(gaps: Array, beta: float | Array = 2.5, gamma: float | Array = 1.375) -> Array:
    """-log sigma(beta h - gamma), h of mean log-probs (Meng et al. 2024, eq. 6).

    Args:
        gaps: float32[B], h, nats a token.
        beta: float > 0.
        gamma: float >= 0, by how much the preferred response should lead.

    Returns:
        float32[B], nats.

    Raises:
        ValueError: if beta or gamma is a Python number outside its range.
    """
    _check(beta=beta)
    if isinstance(gamma, (int, float)) and gamma < 0:
        raise ValueError(f"gamma must not be negative. Received: gamma={gamma}")
    return -ops.log_sigmoid(beta * gaps - gamma)


def kto_loss(
    log_ratios: Array,
    reference_point: Array,
    desirable: Array,
    beta: float | Array = 0.1,
    desirable_weight: float | Array = 1.0,
    undesirable_weight: float | Array = 1.0,
) -> Array:
    """Kahneman-Tversky optimisation, from responses that were liked or not (Ethayarajh et al. 2024,
    section 4.1).

    w_D (1 - sigma(beta (Delta - z))) of a desirable response, w_U (1 - sigma(beta (z - Delta))) of
    another.

    Args:
        log_ratios: float32[B], Delta, log pi / pi_ref of the response, nats.
        reference_point: float32[], z, an estimate of KL(pi || pi_ref); no gradient flows.
        desirable: bool[B].
        beta: float > 0, how soon gains and losses are felt less.
        desirable_weight: float >= 0, w_D.
        undesirable_weight: float >= 0, w_U. The paper would have w_D n_D / (w_U n_U) in [1, 3/2].

    Returns:
        float32[B], in [0, w].

    Raises:
        ValueError: if beta or a weight is a Python number outside its range.
    """
    _check(beta=beta)
    for name, weight in (
        ("desirable_weight", desirable_weight),
        ("undesirable_weight", undesirable_weight),
    ):
        if isinstance(weight, (int, float)) and weight < 0:
            raise ValueError(f"{name} must not be negative. Received: {name}={weight}")
    gains = beta * (log_ratios - ops.stop_gradient(reference_point))
    return ops.where(
        desirable,
        desirable_weight * ops.sigmoid(-gains),
        undesirable_weight * ops.sigmoid(gains),
    )


def kto_reference_point(mismatched_log_ratios: Array, present: Array) -> Array:
    """z of ``kto_loss``: the mean log-ratio of responses to other prompts, at least 0.

    It stands for KL(pi || pi_ref), of which responses that others gave are a biased estimate (their
    section 4.1).

    Args:
        mismatched_log_ratios: float32[B], log pi / pi_ref of another prompt's response, nats.
        present: bool[B], which of them count.

    Returns:
        float32[], nats; no gradient flows.
    """
    return ops.stop_gradient(ops.relu(masked_mean(mismatched_log_ratios, present)))


def _log_odds(log_probs):
    """log(p / (1 - p)), float32[B], of p = exp(log_probs).

    log(1 - p) by whichever of its two forms is exact (Maechler 2012, 'Accurately computing
    log(1 - exp(-|a|))'); both see numbers they can take, so that neither's gradient is NaN.
    """
    log_probs = ops.minimum(log_probs, _ALMOST_CERTAIN)
    is_likely = log_probs > -float(np.log(2.0))
    likely = ops.where(is_likely, log_probs, -1.0)
    unlikely = ops.where(is_likely, -1.0, log_probs)
    log_rest = ops.where(is_likely, ops.log(-ops.expm1(likely)), ops.log1p(-ops.exp(unlikely)))
    return log_probs - log_rest


def _check(beta, label_smoothing=0.0):
    if isinstance(beta, (int, float)) and not beta > 0:
        raise ValueError(f"beta must be positive. Received: beta={beta}")
    if isinstance(label_smoothing, (int, float)) and not 0 <= label_smoothing < 0.5:
        raise ValueError(
            f"label_smoothing must lie in [0, 0.5). Received: label_smoothing={label_smoothing}"
        )
