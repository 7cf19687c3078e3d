"""Low-rank adapters in a training: added to the model, and its base as the reference."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from tfalign.models.lora import WithoutAdapters, add_adapters, quantize
from tfalign.types import LoRA


def adapt(model: keras.Model, lora: LoRA | None) -> None:
    """Gives a model adapters, if any are asked for, and prints how much is trained."""
    if lora is None:
        return
    whole = sum(int(np.prod(variable.shape)) for variable in model.weights)
    if lora.int8:
        quantize(model, lora.targets)
    add_adapters(model, lora)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    print(f"adapters: {trained:,} weights are trained beside {whole:,} ({trained / whole:.2%})")


def reference_of(
    policy: keras.Model, lora: LoRA | None, load: Callable[[], keras.Model]
) -> keras.Model | WithoutAdapters:
    """What a policy is held to: its own base where it has adapters, else a second copy.

    Args:
        policy: CausalLM, after ``adapt``.
        lora: LoRA or None.
        load: loads the copy.
    """
    return load() if lora is None else WithoutAdapters(policy)
