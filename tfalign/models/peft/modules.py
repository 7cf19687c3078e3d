"""What reading and writing adapters share: tensors' names, and the layers of a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfalign import backend
from tfalign.models.huggingface.binding import attribute
from tfalign.models.huggingface.registry import trunk_of
from tfalign.models.huggingface.tables import Row

WEIGHTS = "adapter_model.safetensors"
ROOT = "base_model.model."
A, B, LENGTHS = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"


def layers_of(owner: Any, rows: Mapping[str, Row]) -> list[Any]:
    row = rows.get("weight") or next(iter(rows.values()))
    return [attribute(owner, path.rpartition(".")[0]) for path in row.paths]


def is_tied_table(model: keras.Model, layer: Any) -> bool:
    """Whether a layer is a table of tokens that is read out with, too."""
    table = getattr(trunk_of(model), "token_embedding", None)
    return layer is table and table.tied and hasattr(model, "lens")  # a language model's method


def as_array(variable: Any) -> np.ndarray:
    return backend.to_numpy(variable).astype("float32")
