"""Tensors of a file that a model has no weight for: left out only if they are redundant."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping

import numpy as np

from tfalign.models.config import ModelConfig
from tfalign.models.huggingface.tables import Architecture
from tfalign.models.huggingface.tensors import Held, are_equal, read_whole


def check_leftovers(
    directory: str | os.PathLike,
    architecture: Architecture,
    config: ModelConfig,
    tensors: Mapping[str, Held],
    known: Mapping[str, str],
) -> None:
    """
    Args:
        directory: for the messages.
        architecture: tables.Architecture.
        config: complete, of its family.
        tensors: name -> tensors.Held, all there are.
        known: dict of a row's first spelling to the name it has in the file.

    Raises:
        ValueError: if a tensor is unknown, or is not the copy or the constant its name promises.
    """
    family, placed = architecture.family, set(known.values())
    for name, held in tensors.items():
        if name in placed:
            continue
        rule = next((rule for rule in family.dropped if re.search(rule.pattern, name)), None)
        if rule is None:
            raise ValueError(
                f"{directory}: a {architecture.name} has no tensor {name!r}; is config.json of"
                " another model?"
            )
        if rule.copy_of is None and rule.equals is None:
            warnings.warn(
                f"{directory}: tensor {name!r} is left out, it is of {rule.what}.", stacklevel=4
            )
        elif not _says_nothing_new(rule, held, config, tensors, known):
            raise ValueError(
                f"{directory}: tensor {name!r} must be {rule.what}, which the model has; it is not, and"
                f" a {architecture.name} has no place for another."
            )


def _says_nothing_new(rule, held, config, tensors, known):
    if rule.copy_of is None:
        return bool(rule.equals(read_whole(held), config))
    names = [name for first, name in known.items() if first.endswith(rule.copy_of)]
    return any(are_equal(held, tensors[name]) for name in names)


# What the constants of transformers' older files are


def is_causal_mask(array: np.ndarray, config: ModelConfig) -> bool:
    """GPT-2's ``attn.bias``: ones on and below the diagonal."""
    del config
    if array.ndim != 4 or array.shape[:2] != (1, 1):
        return False
    return np.array_equal(array[0, 0] != 0, np.tril(np.ones(array.shape[2:], "bool")))


def is_masking_number(array: np.ndarray, config: ModelConfig) -> bool:
    """GPT-2's ``attn.masked_bias``: what a masked score becomes, -10,000."""
    del config
    return array.size == 1 and float(array.reshape(())) <= -1e4


def counts_up(array: np.ndarray, config: ModelConfig) -> bool:
    """``position_ids``: 0, 1, 2, ..."""
    del config
    return np.array_equal(array, np.arange(array.shape[-1])[None] if array.ndim else [0])
