"""Writing a model as a Hugging Face directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tfalign import backend
from tfalign.files import (
    AnyPath,
    as_path,
    folder_beside,
    move,
    remove,
    sync_directory,
    sync_file,
    to_json,
    write_synced,
)
from tfalign.models.huggingface.binding import Part, bound
from tfalign.models.huggingface.configuration import (
    CONFIG,
    entries_from_model,
    generation_entries,
)
from tfalign.models.huggingface.reading import GENERATION
from tfalign.models.huggingface.registry import fitting
from tfalign.models.huggingface.tensors import INDEX, WEIGHTS

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


class PretrainedModel:
    """Gives a model the method ``save_pretrained``."""

    def save_pretrained(self, directory: str | os.PathLike, **choices: Any) -> str:
        """As ``models.save_pretrained``."""
        return save_pretrained(self, directory, **choices)


def save_pretrained(
    model: keras.Model,
    directory: str | os.PathLike,
    entries: Mapping[str, Any] | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> str:
    """Writes a Hugging Face directory that ``transformers`` and ``from_pretrained`` load.

    Of a model that was read from a directory, what its config.json said beside the settings is written
    again, and its generation_config.json. Other files in the directory, a tokenizer for instance, stay.
    All is written beside its place, synced and renamed, config.json last: a directory that has a
    config.json is whole. Of several processes all must call it, and the chief writes.

    Args:
        model: a model whose class is registered.
        directory: made where absent.
        entries: dict of further entries of config.json, such as ``{"eos_token_id": 2}``.
        max_shard_bytes: int, a larger model is split into several files.

    Returns:
        The architecture written. One that starts with "Tfalign" has a configuration that
        ``transformers`` cannot express, such as banded attention, and is for tfalign alone.

    Raises:
        ValueError: if the model cannot be written, holds a number that is not finite, or the disk is
            full; nothing has changed then.
    """
    directory = as_path(directory)
    architecture = fitting(model)
    more = dict(entries or {})
    texts = {CONFIG: entries_from_model(architecture, model, more)}
    generation = generation_entries(architecture, model, more)
    if generation is not None:
        texts = {GENERATION: generation} | texts
    documents = {name: to_json(directory / name, value) for name, value in texts.items()}
    shards = _shards(bound(architecture, model), max_shard_bytes)
    if not backend.is_chief():
        _hand_in(shards)
        return architecture.name
    _write(directory, shards, documents)
    return architecture.name


def _write(directory: AnyPath, shards, documents):
    is_new = not directory.exists()
    try:
        with folder_beside(directory) as writing:
            for name, data in documents.items():
                write_synced(writing / name, data)
            files = _write_shards(writing, shards, directory)
            _move_into_place(writing, directory, [*files, *documents])
    except (OSError, SafetensorError, ValueError) as error:
        if is_new:
            remove(directory)
        if isinstance(error, ValueError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{directory} cannot be written: {reason}. What was there is unchanged."
        ) from error


def _shards(rows, max_bytes):
    """Rows in lists of at most so many bytes, though at least one row each."""
    shards, size = [[]], 0
    for bound_row in rows:
        added = sum(
            int(np.prod(v.shape)) * np.dtype(keras.backend.standardize_dtype(v.dtype)).itemsize
            for v in bound_row.variables
        )
        if shards[-1] and size + added > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(bound_row)
        size += added
    return shards


def _write_shards(folder, shards, directory):
    """Writes the weights, one shard in memory at a time; returns the files' names."""
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if shards[1:] else WEIGHTS
        tensors = {}
        for row, _, variables, names in shard:
            arrays = [_array(v) for v in variables]
            tensors[names[0]] = np.asarray(row.transform.to_file(arrays), order="C")
            if not np.isfinite(tensors[names[0]]).all():
                raise ValueError(
                    f"{directory} is not written: {names[0]} holds a number that is not finite."
                )
        save_file(tensors, folder / file, metadata={"format": "pt"})  # transformers asks for it
        as_permitted(folder / file, like=folder / CONFIG)
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    files = sorted(set(weight_map.values()))
    if shards[1:]:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_synced(folder / INDEX, to_json(folder / INDEX, index))
        files.append(INDEX)
    return files


def _array(variable):
    if isinstance(variable, Part):
        return backend.to_numpy(variable.whole)[variable.number]
    return backend.to_numpy(variable)


def as_permitted(file: Path, like: Path) -> None:
    """Makes durable what safetensors wrote, readable by whom the umask says, as ``like`` is; it makes
    files that their owner alone reads."""
    os.chmod(file, like.stat().st_mode & 0o777)
    sync_file(file)


def _hand_in(shards):
    """What another process needs to write the shards: the parts of the weights that lie here."""
    for shard in shards:
        for row in shard:
            for variable in row.variables:
                _array(variable)


def _move_into_place(writing, directory, files):
    (directory / CONFIG).unlink(missing_ok=True)
    for path in list(directory.iterdir()):
        if path.name in (WEIGHTS, INDEX) or _SHARD.fullmatch(path.name):
            path.unlink()
    for name in files:
        move(writing / name, directory / name)
    sync_directory(directory)
