"""Rotary positions as config.json states them, in transformers' newer and older spellings (modeling_rope_utils.py)."""

from __future__ import annotations

import numpy as np

from tfalign.layers.positions import rotary_frequencies
from tfalign.models.config import ModelConfig
from tfalign.models.huggingface.kinds import COUNT, OBJECT, is_number, shortened

ROTARY_KEYS = ("rope_parameters", "rope_scaling", "rope_theta")


def read_rotary(entries: dict) -> dict:
    """One spelling of rotary settings, and no scaling where there is none to do.

    transformers 5 keeps all of them in "rope_parameters", 4 a base and "rope_scaling" beside it. What
    stands in two places must agree.
    """
    stated = [key for key in ("rope_parameters", "rope_scaling") if entries.get(key) is not None]
    for key in stated:
        OBJECT.check(key, entries[key])
    stated = [key for key in stated if entries[key]]
    both = [_normal(entries[key]) for key in stated]
    if len(both) == 2 and both[0] != both[1]:
        raise ValueError(
            "rope_parameters contradicts rope_scaling."
            f" Received: {shortened(both[0])}, {shortened(both[1])}"
        )
    bases = {rotary["rope_theta"] for rotary in both if "rope_theta" in rotary}
    bases |= {entries["rope_theta"]} if "rope_theta" in entries else set()
    if len(bases) > 1:
        raise ValueError(f"rope_theta stands twice. Received: {' and '.join(map(str, bases))}")
    if bases:
        entries = entries | {"rope_theta": bases.pop()}
    return entries | {"rope_scaling": _scaling(both[0] if both else {}, entries)}


def _normal(rotary):
    """Under the newer name, its base a number, without what is at its default."""
    rotary = {key: value for key, value in rotary.items() if value is not None}
    kinds = {rotary.pop(key) for key in ("type", "rope_type") if isinstance(rotary.get(key), str)}
    if len(kinds) > 1 or "type" in rotary or "rope_type" in rotary:
        raise ValueError(
            f"rope_type and the older type must be one name. Received: {shortened(rotary)}"
        )
    if rotary.pop("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError("partial_rotary_factor must be 1: whole heads are turned.")
    for key, value in rotary.items():
        if not (is_number(value) or (key == "truncate" and isinstance(value, bool))):
            raise ValueError(
                f"{key} of the rotary positions must be a number. Received: {key}={shortened(value)}"
            )
    if rotary.get("rope_theta", 1) <= 0 or rotary.get("factor", 1) < 1:
        raise ValueError(
            "Of the rotary positions, rope_theta must be positive and factor at least 1."
            f" Received: {shortened(rotary)}"
        )
    return rotary | {"rope_type": kinds.pop() if kinds else "default"}


def _without_base(rotary):
    return {key: value for key, value in rotary.items() if key != "rope_theta"}


def _scaling(rotary, entries):
    scaling = _without_base(rotary)
    kind = scaling.get("rope_type", "default")
    if kind == "default":
        left = {key: value for key, value in scaling.items() if key != "rope_type"}
        left.pop("original_max_position_embeddings", None)  # which nothing is scaled by
        if left and left != {"factor": 1.0}:
            raise ValueError(
                f"{', '.join(left)} needs a rope_type other than 'default'. Received: {left}"
            )
        return None
    if kind in ("llama3", "yarn") and "max_position_embeddings" in entries:
        scaling.setdefault("original_max_position_embeddings", entries["max_position_embeddings"])
    for key in ("original_max_position_embeddings",):
        if key in scaling:
            COUNT.check(key, scaling[key])
    return scaling


def equals_frequencies(array: np.ndarray, config: ModelConfig) -> bool:
    """Older files keep ``inv_freq``, before or after the stretching, perhaps rounded to 16 bits."""
    plain, _ = rotary_frequencies(config.head_dim, config.rotary_base)
    scaled, _ = rotary_frequencies(config.head_dim, config.rotary_base, config.rotary_scaling)
    digits = 1e-2 if array.dtype.itemsize == 2 else 1e-4
    found = np.asarray(array, "float32")
    return any(
        found.shape == held.shape and np.allclose(found, held, rtol=digits, atol=0.0)
        for held in (plain, scaled)
    )
