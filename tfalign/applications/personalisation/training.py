"""Training of basis rewards on the choices of many users."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tfalign.applications.personalisation.features import TextFeatures
from tfalign.applications.personalisation.model import PersonalRewardModel
from tfalign.applications.personalisation.vectors import Gaussian, fit_vector
from tfalign.data import PreferenceRecord
from tfalign.functional.losses import bradley_terry_loss, pair_accuracy
from tfalign.options import option, option_record
from tfalign.training.learner import Learner
from tfalign.training.optimizers import WarmupDecay
from tfalign.types import Array, Metrics

_AT_ONCE = 1024  # pairs whose features are made at once


@option_record
class PersonalOptions:
    """Training of a personal reward model."""

    num_rewards: int = option(4, "Basis rewards K, numbers in a user's vector.", at_least=1)
    features: int = option(16384, "Size of the hash of text features.", at_least=1)
    steps: int = option(400, "Optimizer steps.", at_least=1)
    batch_size: int = option(2048, "Pairs per step.", at_least=1)
    learning_rate: float = option(0.02, "Initial learning rate; decays linearly to 0.", above=0)
    basis_penalty: float = option(7e-4, "Weight of the basis' squares in the loss.", at_least=0)
    vector_penalty: float = option(
        1e-2, "Weight of the squares of users' differences from the mean vector.", at_least=0
    )
    seed: int = option(0, "Random seed.", at_least=0, below=2**32)


class Choices(NamedTuple):
    """Pairs of answers that users chose between, by the features in which they differ: of many features few are there."""

    places: Array  # int32[B, M], which features; 0 where there are fewer
    values: Array  # float32[B, M], of the chosen answer less those of the other; 0 where there are fewer
    users: Array  # int32[B]


@dataclasses.dataclass(frozen=True)
class UsersBradleyTerry:
    """-log sigma(z_u . (R_chosen - R_rejected)), in mean over pairs, of a ``UserRewards``.

    Attributes:
        basis_penalty: weight of the sum of the basis' squares, halved.
        vector_penalty: weight of the mean over users of |z_u - mean|^2, halved.
    """

    basis_penalty: float = 0.0
    vector_penalty: float = 0.0

    def __call__(
        self, model: UserRewards, batch: Choices, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """(loss_sum float32[], weight float32[], metrics)."""
        del training
        gaps = model(batch.places, batch.values, batch.users)
        pairs = ops.cast(ops.shape(gaps)[0], "float32")
        squares = self.basis_penalty * ops.sum(ops.square(model.basis))
        users = model.vectors.shape[0]
        squares = squares + self.vector_penalty * ops.sum(ops.square(model.vectors)) / users
        loss = ops.sum(bradley_terry_loss(gaps, 0.0)) + 0.5 * squares * pairs
        return loss, pairs, {"accuracy": (ops.sum(pair_accuracy(gaps, 0.0)), pairs)}


class UserRewards(keras.Model):
    """The basis and all users' vectors while they are trained: features and a user to a reward.

    Args:
        features: int, F.
        num_rewards: int, K.
        users: int, U.
        seed: int.
    """

    def __init__(self, features: int, num_rewards: int, users: int, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)

        def weight(name, rows, columns, scale):
            start = keras.initializers.Constant(rng.normal(0, scale, (rows, columns)))
            return self.add_weight(name=name, shape=(rows, columns), initializer=start)

        self.basis = weight("basis", features, num_rewards, 0.05)
        self.vectors = weight("vectors", users, num_rewards, 0.3)
        self.shared = self.add_weight(name="shared", shape=(num_rewards,), initializer="ones")
        self.built = True

    def call(self, places: Array, values: Array, users: Array) -> Array:
        """Rewards float32[B] of ``Choices``; of differences of features, differences of rewards."""
        vectors = self.shared + ops.take(ops.convert_to_tensor(self.vectors), users, axis=0)
        there = ops.take(ops.convert_to_tensor(self.basis), places, axis=0)  # [B, M, K]
        return ops.sum(ops.sum(values[..., None] * there, axis=1) * vectors, axis=-1)


def train_personal(
    pairs: Sequence[PreferenceRecord],
    options: PersonalOptions | None = None,
    features: Callable[..., np.ndarray] | None = None,
    tell: Callable[[int, dict[str, Any]], None] = lambda step, metrics: None,
) -> PersonalRewardModel:
    """Basis rewards from the choices of many users, and the prior of their vectors.

    Args:
        pairs: PreferenceRecords with their users.
        options: PersonalOptions.
        features: see ``PersonalRewardModel``; ``TextFeatures`` where None.
        tell: called with a step and its metrics, now and then.

    Returns:
        PersonalRewardModel, whose prior is that of the vectors fitted to each user's pairs.

    Raises:
        ValueError: if there are fewer than two users.
    """
    options = PersonalOptions() if options is None else options
    features = TextFeatures(options.features) if features is None else features
    names = sorted({pair.user for pair in pairs})
    if len(names) < 2:
        raise ValueError(f"Basis rewards need two users at least. Received: {len(names)}")
    seen, size = _choices(pairs, features, names)
    model = UserRewards(size, options.num_rewards, len(names), options.seed)
    schedule = WarmupDecay(options.learning_rate, options.steps, shape="linear")
    penalties = options.basis_penalty, options.vector_penalty
    optimizer = keras.optimizers.Adam(schedule, beta_2=0.99)
    learner = Learner(model, UsersBradleyTerry(*penalties), optimizer)
    rng = np.random.default_rng(options.seed)
    for step in range(1, options.steps + 1):
        rows = rng.integers(0, len(pairs), options.batch_size)
        metrics = learner.update(Choices(*(column[rows] for column in seen)))
        if step % 50 == 0:
            tell(step, {name: float(value) for name, value in metrics.items()})
    return _finished(model, features, seen)


def _choices(pairs, features, names):
    """(Choices of all pairs, number of features F)."""
    number = {name: index for index, name in enumerate(names)}
    parts = []
    for start in range(0, len(pairs), _AT_ONCE):
        some = pairs[start : start + _AT_ONCE]
        prompts = [pair.prompt for pair in some]
        chosen = features(prompts, [pair.chosen for pair in some])
        differences = chosen - features(prompts, [pair.rejected for pair in some])
        parts.append(_those_there(differences))
    most = max(places.shape[1] for places, _ in parts)
    columns = (
        np.concatenate(
            [np.pad(column, ((0, 0), (0, most - column.shape[1]))) for column in columns]
        )
        for columns in zip(*parts)
    )
    users = np.array([number[pair.user] for pair in pairs], "int32")
    return Choices(*columns, users), differences.shape[1]


def _those_there(features):
    """(places int32[N, M], values float32[N, M]) of the features float[N, F] that are not 0, in their order."""
    rows, columns = np.nonzero(features)
    counts = np.bincount(rows, minlength=len(features))
    behind = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.zeros((len(features), counts.max(initial=1)), "int32")
    values = np.zeros(places.shape, "float32")
    places[rows, behind], values[rows, behind] = columns, features[rows, columns]
    return places, values


def _finished(model, features, seen):
    """PersonalRewardModel, its prior by two rounds of fitting every user under it (empirical Bayes)."""
    basis = np.array(model.basis)
    prior = Gaussian.of(np.array(model.shared) + np.array(model.vectors))
    rewards = np.einsum("nm,nmk->nk", seen.values, basis[seen.places])
    differences = [rewards[seen.users == user] for user in range(model.vectors.shape[0])]
    for _ in range(2):
        prior = Gaussian.of(np.stack([fit_vector(x, prior).mean for x in differences]))
    return PersonalRewardModel(features, basis, prior)
