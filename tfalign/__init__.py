"""tfalign: align language models with reinforcement learning, in TensorFlow and Keras 3.

    import tfalign

    model = tfalign.load("runs/demo/models/sft")
    model.generate("Customer: Where is my order 147?\\nAgent:")

Importing it imports neither Keras, TensorFlow nor Gymnasium; trainers, models and all packages are imported when
they are first used. Once Gymnasium is imported, ``gymnasium.make("tfalign/TextGeneration-v0", ...)`` works.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from wrapt import when_imported

from tfalign.installed import choose_backend, needing_tensorflow

if TYPE_CHECKING:
    from tfalign.pretrained import Pretrained, load
    from tfalign.trainers import (
        ClassificationTrainer,
        DistillationTrainer,
        DistributedOnPolicyTrainer,
        FineTuner,
        MaskedPretrainer,
        OnPolicyTrainer,
        Pipeline,
        PolicyEvaluator,
        PreferenceTrainer,
        Pretrainer,
        ProcessRewardTrainer,
        RewardTrainer,
        SimilarityTrainer,
        TaggingTrainer,
    )

__version__ = "0.1.0"

__all__ = [
    "ClassificationTrainer",
    "DistillationTrainer",
    "DistributedOnPolicyTrainer",
    "FineTuner",
    "MaskedPretrainer",
    "OnPolicyTrainer",
    "Pipeline",
    "PolicyEvaluator",
    "PreferenceTrainer",
    "Pretrained",
    "Pretrainer",
    "ProcessRewardTrainer",
    "RewardTrainer",
    "SimilarityTrainer",
    "TaggingTrainer",
    "load",
]


choose_backend()


def __getattr__(name: str):
    with needing_tensorflow("Keras' backend", ', or JAX: pip install "tfalign[jax]"'):
        if name in __all__:
            home = "pretrained" if name in ("Pretrained", "load") else "trainers"
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
        if name in _submodules():
            return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_submodules()})


def _submodules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]


@when_imported("gymnasium.envs.registration")
def _register_environments(registration) -> None:
    registration.register(
        id="tfalign/TextGeneration-v0",
        entry_point="tfalign.environments.gymnasium_env:TextGenerationEnv",
        vector_entry_point="tfalign.environments.gymnasium_vector_env:TextGenerationVectorEnv",
    )
