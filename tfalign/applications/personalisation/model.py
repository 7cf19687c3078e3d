"""A reward model for each user of many: K basis rewards for all, and a vector of K numbers for each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from tfalign.applications.personalisation.features import TextFeatures
from tfalign.applications.personalisation.vectors import Gaussian, fit_vector, most_telling
from tfalign.data import PreferenceRecord
from tfalign.files import as_path, write_bytes_atomically

WEIGHTS = "personal_reward.safetensors"


@dataclasses.dataclass(frozen=True)
class PersonalRewardModel:
    """User u's reward of an answer is z_u . R(prompt, answer), with basis rewards R that are linear in features, and a
    normal prior of z from the users it was trained on. ``training.train_personal`` makes one.

    Attributes:
        features: ``(prompts, responses) -> float32[N, F]``.
        basis: float32[F, K].
        prior: Gaussian of K.

    >>> model = PersonalRewardModel(
    ...     lambda prompts, responses: np.array([[len(r), r.count("!")] for r in responses], "float32"),
    ...     np.eye(2, dtype="float32"),
    ...     Gaussian(np.zeros(2), np.eye(2)),
    ... )
    >>> brief = [PreferenceRecord("Hi.", "Hi!", "Good morning!"), PreferenceRecord("Well?", "Yes.", "Yes, I am.")]
    >>> vector = model.vector(brief).mean
    >>> short, long = model.rewards(["Hi.", "Hi."], ["Hello.", "Hello, and welcome."]) @ vector
    >>> bool(short > long)
    True
    """

    features: Callable[[Sequence[str], Sequence[str]], np.ndarray]
    basis: np.ndarray
    prior: Gaussian

    @property
    def num_rewards(self) -> int:
        """K."""
        return self.basis.shape[1]

    def rewards(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Basis rewards, float32[N, K]."""
        return np.asarray(self.features(prompts, responses), "float32") @ self.basis

    def differences(self, pairs: Iterable[PreferenceRecord]) -> np.ndarray:
        """Basis rewards of chosen answers less those of rejected ones, float32[N, K]."""
        pairs = list(pairs)
        prompts = [pair.prompt for pair in pairs]
        sides = ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
        if not pairs:
            return np.zeros((0, self.num_rewards), "float32")
        chosen, rejected = (self.rewards(prompts, side) for side in sides)
        return chosen - rejected

    def vector(self, pairs: Iterable[PreferenceRecord]) -> Gaussian:
        """What a user's choices say of the user: see ``vectors.fit_vector``; the prior where there are none."""
        return fit_vector(self.differences(pairs), self.prior)

    def next_question(self, belief: Gaussian, candidates: Sequence[PreferenceRecord]) -> int:
        """Which of the candidates to ask a user about next: see ``vectors.most_telling``. Which answer of a candidate
        stands as chosen is of no matter."""
        return most_telling(self.differences(candidates), belief)

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the weights and the prior to one file of the directory.

        Raises:
            ValueError: if the features are not a ``TextFeatures``, which alone can be written.
        """
        if not isinstance(self.features, TextFeatures):
            raise ValueError(
                "Only a model of TextFeatures can be saved. "
                f"Received: features of type {type(self.features).__name__}"
            )
        arrays = {"basis": self.basis, "mean": self.prior.mean, "covariance": self.prior.covariance}
        directory = as_path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        held = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
        write_bytes_atomically(directory / WEIGHTS, to_bytes(held))

    @classmethod
    def load(cls, directory: str | os.PathLike) -> PersonalRewardModel:
        """Reads what ``save`` wrote."""
        held = from_bytes((as_path(directory) / WEIGHTS).read_bytes())
        prior = Gaussian(held["mean"], held["covariance"])
        return cls(TextFeatures(len(held["basis"])), held["basis"], prior)


class PersonalReward:
    """A user's reward for every algorithm and trainer: ``OnPolicyTrainer(model, PersonalReward(basis, pairs), prompts)``.

    Args:
        model: PersonalRewardModel.
        pairs: PreferenceRecords, the user's choices; or the user's vector float[K].

    Call arguments:
        prompts, responses: lists of str.

    Returns:
        list of float, z . R.
    """

    def __init__(self, model: PersonalRewardModel, pairs: Sequence[PreferenceRecord] | Any) -> None:
        self.model = model
        is_vector = isinstance(pairs, np.ndarray)
        self.vector = np.asarray(pairs if is_vector else model.vector(pairs).mean, "float64")

    def __call__(self, prompts: list[str], responses: list[str]) -> list[float]:
        return (self.model.rewards(prompts, responses) @ self.vector).tolist()


class RewardOfUsers:
    """The reward of whichever user a prompt is of, for one policy that serves all.

    Args:
        model: PersonalRewardModel.
        vectors: dict of a user's name to float[K].
        column: of the prompts' records, which holds the user's name.

    Call arguments:
        prompts, responses: lists of str.
        records: list of dicts.

    Returns:
        list of float, z_u . R.

    Raises:
        ValueError: in a call, if a record's user is unknown.
    """

    def __init__(
        self, model: PersonalRewardModel, vectors: dict[str, np.ndarray], column: str = "user"
    ) -> None:
        self.model = model
        self.vectors = dict(vectors)
        self.column = column

    def __call__(self, prompts: list[str], responses: list[str], records: list) -> list[float]:
        users = [record[self.column] for record in records]
        unknown = sorted(set(users) - self.vectors.keys())
        if unknown:
            raise ValueError(
                f"The users are {', '.join(sorted(self.vectors)[:8])}, ... Received: {unknown[0]!r}"
            )
        vectors = np.stack([self.vectors[user] for user in users])
        return np.sum(self.model.rewards(prompts, responses) * vectors, axis=1).tolist()
