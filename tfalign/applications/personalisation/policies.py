"""One policy for many users: by a profile's text in the prompt, by a prefix of its own for each user, or by a mixture of
adapters, one for each basis reward."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from tfalign.applications.personalisation.profiles import Profile
from tfalign.layers import IdPrefix, VectorPrefix
from tfalign.models import CausalLM, Conditioned
from tfalign.models.lora import adapted_layers


def with_profile(prompt: str, profile: Profile) -> str:
    """A prompt behind what the profile says of its user.

    >>> with_profile("Customer: Hi.\\nAgent:", Profile("mia", ("Likes short answers.",)))
    'Likes short answers.\\nCustomer: Hi.\\nAgent:'
    """
    return "\n".join((*profile.about, prompt))


def with_prefixes(model: CausalLM, num_users: int, num_columns: int = 4) -> CausalLM:
    """A policy that reads which user it answers: the same weights behind learned columns for each user.

    Args:
        model: CausalLM of a GPT; it stays part of what is returned.
        num_users: int; prompts' conditions are their numbers.
        num_columns: int, K, which the response can no longer use.
    """
    encoder = IdPrefix(num_users, num_columns, model.config.width)
    return CausalLM(Conditioned(model.backbone, encoder))


def with_vectors(model: CausalLM, size: int, num_columns: int = 4) -> CausalLM:
    """A policy that reads a user's vector, also one that it was not trained on; otherwise as ``with_prefixes``.

    Args:
        model: CausalLM of a GPT.
        size: int, numbers in a vector, ``PersonalRewardModel.num_rewards``.
        num_columns: int, K.
    """
    encoder = VectorPrefix(size, num_columns, model.config.width)
    return CausalLM(Conditioned(model.backbone, encoder))


class AdapterMixture:
    """Interpolated adapters (rewarded soups, Ramé et al. 2023): a model's low-rank adapters, as they were after
    training on each basis reward, mixed by a user's vector.

    Args:
        model: keras.Model with adapters, see ``models.lora.add_adapters``.

    >>> from tfalign.models import GPTConfig
    >>> from tfalign.models.lora import LoRA, add_adapters
    >>> model = CausalLM(GPTConfig(vocab_size=9, width=8, num_layers=1, num_heads=2, max_positions=8))
    >>> layers = add_adapters(model, LoRA(rank=2))
    >>> mixture = AdapterMixture(model)
    >>> mixture.keep()  # as trained on the first reward
    >>> for layer in layers:
    ...     layer.adapter.up.assign(layer.adapter.up + 1)
    >>> mixture.keep()  # on the second
    >>> mixture.use([0.25, 0.75])
    >>> float(layers[0].adapter.up[0, 0])
    0.75
    """

    def __init__(self, model: keras.Model) -> None:
        layers = adapted_layers(model)
        self._variables = [variable for layer in layers for variable in layer.adapter.variables]
        self._kept = []

    def keep(self) -> None:
        """Keeps the adapters as they are, as those of the next basis reward."""
        self._kept.append([np.array(variable) for variable in self._variables])

    def use(self, shares: Sequence[float]) -> None:
        """Sets the adapters to a mixture of those that were kept.

        Args:
            shares: floats, one for each; they should sum to 1.

        Raises:
            ValueError: if there are as many shares not as adapters.
        """
        if len(shares) != len(self._kept):
            raise ValueError(
                f"A mixture has a share of each of {len(self._kept)} adapters. Received: {len(shares)} shares"
            )
        for variable, *values in zip(self._variables, *self._kept):
            variable.assign(sum(share * value for share, value in zip(shares, values)))


def shares_of(vector: np.ndarray) -> np.ndarray:
    """A user's vector as shares of basis rewards: what is liked, in proportion; the same of each where nothing is.

    >>> shares_of(np.array([3.0, -1.0, 1.0])).tolist()
    [0.75, 0.0, 0.25]
    """
    liked = np.maximum(np.asarray(vector, "float64"), 0.0)
    return liked / liked.sum() if liked.any() else np.full(len(liked), 1 / len(liked))
