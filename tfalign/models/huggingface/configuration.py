"""config.json to a configuration of tfalign, and back: the keys, their values, and which go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from tfalign.layers.positions import rotary_frequencies
from tfalign.models.huggingface.json_files import read_object
from tfalign.models.huggingface.keys import check_keys, is_harmless
from tfalign.models.huggingface.kinds import KINDS, shortened
from tfalign.models.huggingface.registry import named, trunk_of
from tfalign.models.huggingface.tables import REQUIRED, Architecture

CONFIG = "config.json"
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


class Described(NamedTuple):
    """The checked contents of a config.json."""

    architecture: Architecture
    config: Any
    head: dict  # further arguments of the model's class
    entries: dict  # as they stand in the file


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a backbone keeps of the directory it was read from, for ``save_pretrained``."""

    architecture: str
    entries: dict
    generation: dict | None  # generation_config.json


def describe(directory: Path) -> Described:
    """Reads and checks config.json.

    Raises:
        ValueError: naming the file and the key.
    """
    file = directory / CONFIG
    entries = read_object(file)
    try:
        architecture = named(entries)
        config, head = _settings(architecture, entries)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return Described(architecture, config, head, entries)


def _settings(architecture, entries):
    family = architecture.family
    check_keys(entries, family, used_keys(architecture))
    merged = _merged(family, entries)
    for field in family.fields:
        _check_kind(field, merged)
    for key, value in family.supported.items():
        if merged.get(key, value) != value:
            raise ValueError(f"{key} must be {value!r}. Received: {key}={shortened(merged[key])}")
    read = family.read(merged)
    values = {name: value for name, value in family.fixed.items() if not callable(value)}
    values |= {field.ours: _value(field, read) for field in family.fields}
    config = family.config_class.from_dict(values)
    _check_heads(config)
    _check_blocks(family.complete(config))
    return config, architecture.read_head(entries)


def used_keys(architecture: Architecture) -> set[str]:
    family = architecture.family
    names = {key for field in family.fields for key in (field.theirs, *field.also)}
    return names | set(family.supported) | set(family.uses) | set(architecture.uses)


def _merged(family, entries):
    """Entries with every setting under its first name alone."""
    merged = dict(entries)
    for field in family.fields:
        stated = {key: entries[key] for key in (field.theirs, *field.also) if key in entries}
        if len({repr(value) for value in stated.values()}) > 1:
            said = ", ".join(f"{key}={shortened(value)}" for key, value in stated.items())
            raise ValueError(f"{' and '.join(stated)} are one setting. Received: {said}")
        for key, value in stated.items():
            merged[field.theirs] = value
            if key != field.theirs:
                del merged[key]
    return merged


def _check_kind(field, entries):
    if field.theirs not in entries or field.ours not in KINDS or field.names is not None:
        return
    value = entries[field.theirs]
    if not (value is None and field.null):
        KINDS[field.ours].check(field.theirs, value)


def _value(field, entries):
    value = entries.get(field.theirs, field.default)
    if value is REQUIRED:
        raise ValueError(f"{field.theirs} is missing.")
    if field.names is None:
        return value
    if not isinstance(value, str) or value not in field.names:
        raise ValueError(
            f"{field.theirs} must be one of {', '.join(field.names)}."
            f" Received: {field.theirs}={shortened(value)}"
        )
    return field.names[value]


def _check_heads(config):
    """Heads share the width, and groups of them a key and a value."""
    heads = getattr(config, "num_heads", None)
    if heads is None:
        return
    if getattr(config, "head_dim", None) is None and config.width % heads:
        raise ValueError(
            "The width must be divisible by the number of heads."
            f" Received: width={config.width}, num_heads={heads}"
        )
    groups = getattr(config, "num_key_value_heads", None) or heads
    if heads % groups:
        raise ValueError(
            "The number of heads must be divisible by that of key-value heads."
            f" Received: num_heads={heads}, num_key_value_heads={groups}"
        )


def _check_blocks(config):
    """Lists of blocks, and rotary positions; ``config`` is complete."""
    for name in ("windowed_blocks", "unrotated_blocks"):
        blocks = getattr(config, name, None) or ()
        if any(block >= config.num_layers for block in blocks):
            raise ValueError(
                f"{name} must be below {config.num_layers}. Received: {shortened(blocks)}"
            )
    if getattr(config, "rotary_base", None) is not None:
        _check_rotary(config)


def _check_rotary(config):
    if config.head_dim % 2:
        raise ValueError(f"Rotary positions need an even head_dim. Received: {config.head_dim}")
    if (config.rotary_scaling or {}).get("rope_type") == "yarn" and config.head_dim < 4:
        raise ValueError(f"Yarn needs a head_dim of 4 or more. Received: {config.head_dim}")
    try:
        rotary_frequencies(config.head_dim, config.rotary_base, config.rotary_scaling)
    except (ArithmeticError, TypeError) as error:
        scaling = shortened(dict(config.rotary_scaling or {}))
        raise ValueError(f"Rotary positions: {error}. Received: {scaling}") from error


# Back


def entries_from_model(
    architecture: Architecture, model: keras.Model, more: Mapping[str, Any]
) -> dict:
    """config.json of a model: what it computes, and what else the directory it came from had to say.

    Args:
        architecture: tables.Architecture.
        model: of its class.
        more: dict of entries that win.
    """
    family = architecture.family
    config = family.complete(model.config)
    entries = {"architectures": [architecture.name], "model_type": family.model_type}
    for field in family.fields:
        value = getattr(config, field.ours)
        if field.names is not None:
            value = next(theirs for theirs, ours in field.names.items() if ours == value)
        if field.written or value != field.default:
            entries[field.theirs] = value
    dtype = keras.backend.standardize_dtype(model.weights[0].dtype)
    entries |= family.supported | {"dtype": dtype}
    entries = architecture.write_head(model) | family.write(entries)
    origin = origin_of(model)
    if origin is None:
        return entries | more
    return _kept(architecture, origin, entries) | with_their_lists(more, origin.entries)


def _kept(architecture, origin, entries):
    """Entries, and those of the origin that nothing here decides."""
    family = architecture.family
    decided = used_keys(architecture) | set(family.only) | {"torch_dtype", "num_labels", *entries}
    kept = {
        key: value
        for key, value in origin.entries.items()
        if key not in decided and is_harmless(key, value, family)
    }
    names = origin.entries.get("id2label")
    if origin.architecture == architecture.name and len(names or ()) == len(
        entries.get("id2label", ())
    ):
        kept |= {key: origin.entries[key] for key in ("id2label", "label2id") if names}
        entries = {key: value for key, value in entries.items() if key not in kept}
    return kept | entries


def with_their_lists(more: dict, before: dict) -> dict:
    """Token ids for a file; one that stands in the list a model was read with stays that list."""
    return more | {
        key: before[key]
        for key in _IDS
        if key in more and isinstance(before.get(key), list) and more[key] in before[key]
    }


def generation_entries(
    architecture: Architecture, model: keras.Model, more: Mapping[str, Any]
) -> dict | None:
    """generation_config.json that a model was read with, for the token ids that are written now."""
    origin = origin_of(model)
    if origin is None or origin.generation is None or not architecture.generates:
        return None
    ids = {key: more[key] for key in _IDS if key in more}
    return origin.generation | with_their_lists(ids, origin.generation)


def origin_of(model: keras.Model) -> Origin | None:
    return getattr(trunk_of(model), "origin", None)
