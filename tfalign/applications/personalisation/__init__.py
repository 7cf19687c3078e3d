"""Personalisation: rewards and policies for each user, from a few of their choices.

Basis rewards and users' vectors (``model``, ``vectors``, ``training``), which question to ask next, policies by profile
text, prefix or mixed adapters (``policies``), profiles that a person can read, export and delete (``profiles``),
conversation memory within a token budget (``memory``), and users who need no data (``embedded``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfalign.lazy import lazily

if TYPE_CHECKING:
    from tfalign.applications.personalisation.embedded import Customer, choices_of, customers
    from tfalign.applications.personalisation.features import TextFeatures
    from tfalign.applications.personalisation.memory import ConversationMemory
    from tfalign.applications.personalisation.model import (
        PersonalReward,
        PersonalRewardModel,
        RewardOfUsers,
    )
    from tfalign.applications.personalisation.policies import (
        AdapterMixture,
        shares_of,
        with_prefixes,
        with_profile,
        with_vectors,
    )
    from tfalign.applications.personalisation.profiles import Profile, ProfileStore
    from tfalign.applications.personalisation.training import PersonalOptions, train_personal
    from tfalign.applications.personalisation.vectors import Gaussian, fit_vector, most_telling

_HOMES = {
    "AdapterMixture": "policies",
    "ConversationMemory": "memory",
    "Customer": "embedded",
    "Gaussian": "vectors",
    "PersonalOptions": "training",
    "PersonalReward": "model",
    "PersonalRewardModel": "model",
    "Profile": "profiles",
    "ProfileStore": "profiles",
    "RewardOfUsers": "model",
    "TextFeatures": "features",
    "choices_of": "embedded",
    "customers": "embedded",
    "fit_vector": "vectors",
    "most_telling": "vectors",
    "shares_of": "policies",
    "train_personal": "training",
    "with_prefixes": "policies",
    "with_profile": "policies",
    "with_vectors": "policies",
}

__all__ = [
    "AdapterMixture",
    "ConversationMemory",
    "Customer",
    "Gaussian",
    "PersonalOptions",
    "PersonalReward",
    "PersonalRewardModel",
    "Profile",
    "ProfileStore",
    "RewardOfUsers",
    "TextFeatures",
    "choices_of",
    "customers",
    "fit_vector",
    "most_telling",
    "shares_of",
    "train_personal",
    "with_prefixes",
    "with_profile",
    "with_vectors",
]


__getattr__ = lazily(__name__, _HOMES)
