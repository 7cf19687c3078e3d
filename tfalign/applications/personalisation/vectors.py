"""A user's vector from a few choices: a logistic model with a Gaussian prior, fitted by Newton's method (Laplace's
approximation), and which question would tell most about it.

A choice between two answers of basis rewards R is -log sigma(z . (R_chosen - R_rejected)). With K of a handful and some
tens of pairs a fit takes well under a millisecond.
"""

from __future__ import annotations

import dataclasses

import numpy as np

MOST_STEPS = 100
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """A normal distribution of user vectors.

    Attributes:
        mean: float64[K].
        covariance: float64[K, K], positive definite.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, least: float = 1e-2) -> Gaussian:
        """That of users float[U, K], U of at least 2; ``least`` is added to the variances."""
        vectors = np.asarray(vectors, "float64")
        covariance = np.atleast_2d(np.cov(vectors.T)) + least * np.eye(vectors.shape[1])
        return cls(vectors.mean(axis=0), covariance)


def fit_vector(differences: np.ndarray, prior: Gaussian) -> Gaussian:
    """The posterior of a user's vector, as a normal distribution at its mode.

    Args:
        differences: float[N, K], basis rewards of the chosen answer less those of the other; N may be 0.
        prior: Gaussian.

    Returns:
        Gaussian: the mode, and the inverse of the curvature there.

    Raises:
        ValueError: if the differences are not of the prior's size, or not finite.

    >>> prior = Gaussian(np.zeros(1), np.eye(1))
    >>> fit_vector(np.zeros((0, 1)), prior).mean.tolist()
    [0.0]
    >>> one = fit_vector(np.array([[2.0]]), prior).mean[0]
    >>> bool(np.isclose(one, 2 / (1 + np.exp(2 * one))))  # where the gradient is 0
    True
    """
    x, size = np.asarray(differences, "float64"), len(prior.mean)
    if x.ndim != 2 or x.shape[1] != size or not np.isfinite(x).all():
        raise ValueError(
            f"Differences must be finite, of {size} basis rewards. Received: shape {x.shape}"
        )
    precision = np.linalg.inv(prior.covariance)

    def loss(z):
        apart = z - prior.mean
        return np.logaddexp(0.0, -x @ z).sum() + 0.5 * apart @ precision @ apart

    z, value = prior.mean.copy(), loss(prior.mean)
    for _ in range(MOST_STEPS):
        wrong = _sigmoid(-x @ z)
        gradient = x.T @ wrong - precision @ (z - prior.mean)
        step = np.linalg.solve(_curvature(x, z, precision), gradient)
        scale = 1.0
        while (
            loss(z + scale * step) > value and scale > 1e-8
        ):  # the loss is convex: some step is down
            scale /= 2
        z = z + scale * step
        value = loss(z)
        if np.abs(scale * step).max() < 1e-9:
            break
    return Gaussian(z, np.linalg.inv(_curvature(x, z, precision)))


def most_telling(differences: np.ndarray, belief: Gaussian) -> int:
    """Which question to ask next: the pair whose answer has the largest mutual information with the user's vector
    (Houlsby et al. 2011, BALD), nats, by quadrature over z . d, which is normal.

    Args:
        differences: float[N, K] of the pairs that can be asked about, either answer first.
        belief: Gaussian, what is known of the user.

    Returns:
        int, a row.

    >>> certain = Gaussian(np.array([5.0, 0.0]), np.diag([0.01, 4.0]))
    >>> most_telling(np.array([[1.0, 0.0], [0.0, 1.0]]), certain)  # the first is known
    1
    """
    return int(np.argmax(information(differences, belief)))


def information(differences: np.ndarray, belief: Gaussian) -> np.ndarray:
    """float64[N], nats that each pair's answer is expected to tell; at most log 2."""
    x = np.asarray(differences, "float64")
    mean, deviation = x @ belief.mean, np.sqrt(np.einsum("nk,kl,nl->n", x, belief.covariance, x))
    likely = _sigmoid(mean[:, None] + deviation[:, None] * _NODES)
    return _entropy(likely @ _WEIGHTS) - _entropy(likely) @ _WEIGHTS


def _curvature(x, z, precision):
    likely = _sigmoid(x @ z)
    return (x.T * (likely * (1 - likely))) @ x + precision


def _sigmoid(x):
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _entropy(p):
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -p * np.log(p) - (1 - p) * np.log(1 - p)
