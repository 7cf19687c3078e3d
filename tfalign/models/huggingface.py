"""Hugging Face directories in and out: config.json and safetensors to a model and back.

This module is the machinery and knows no model. An ``Architecture`` says by tables where each weight
and each setting stands; ``models.architectures`` holds those of tfalign's models, and whoever writes
a model on a higher floor can ``register`` more.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tfalign import backend
from tfalign.layers.initializers import weights_to_be_loaded

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_KERAS_HUB = "task.json"  # what a KerasHub preset of a language model has
_INDEX, _WRITING = "model.safetensors.index.json", ".writing"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_PIECE = 500_000  # numbers of a tensor read at a time
_FLOATS = ("F64", "F32", "F16", "BF16")
REQUIRED = object()


class Transform(NamedTuple):
    """How the weights of a row and the tensor in the file follow from each other."""

    to_file: Callable[[list[np.ndarray]], np.ndarray]
    from_file: Callable[[np.ndarray, list[tuple[int, ...]]], list[np.ndarray]]
    file_shape: Callable[[list[tuple[int, ...]]], tuple[int, ...]]
    axis: int | None  # of the weights that the tensor's rows lie on, where it may be read in pieces


def _join(arrays):
    return np.concatenate(arrays, axis=-1)


def _part(tensor, shapes):
    return np.split(tensor, np.cumsum([shape[-1] for shape in shapes])[:-1], axis=-1)


SAME = Transform(lambda a: a[0], lambda t, _: [t], lambda s: s[0], axis=0)
TRANSPOSED = Transform(lambda a: a[0].T, lambda t, _: [t.T], lambda s: s[0][::-1], axis=1)
JOINED = Transform(_join, _part, lambda s: (*s[0][:-1], sum(shape[-1] for shape in s)), axis=0)


class Row(NamedTuple):
    """A tensor of the file and the weights it holds.

    A row whose weights a model does not have, such as the biases of one without, is left out.
    """

    paths: tuple[str, ...]  # attributes from the trunk (or the model) to its weights
    name: str  # in the file
    transform: Transform = SAME
    optional: bool = False  # a file may lack it; the weights then stay as initialised


class Field(NamedTuple):
    """A setting of a tfalign configuration and its key in config.json."""

    ours: str
    theirs: str
    default: Any = REQUIRED  # what transformers takes where the key is absent
    also: tuple[str, ...] = ()  # keys that are written with the same value
    names: Mapping[str, str] | None = None  # their spelling -> ours; the first of equals is written


class Family(NamedTuple):
    """Trunks that share a configuration and tensor names, such as GPT-2's."""

    model_type: str
    config_class: type
    fields: tuple[Field, ...]
    fixed: dict[str, Any]  # setting -> the only value it can have, or a function of the config
    supported: dict[str, Any]  # key of config.json -> the only value tfalign computes
    rows: Callable[[Any], Sequence[Row]]  # of a configuration, on the trunk
    prefix: str  # of the trunk's tensors in a model with a head; files have them with or without
    ignored: str = r"(?!)"  # pattern of tensors that carry no weight of these models
    complete: Callable[[Any], Any] = lambda config: config  # None replaced by what it stands for
    read: Callable[[dict], dict] = lambda entries: entries  # what transformers writes to ``fields``
    write: Callable[[dict], dict] = lambda entries: entries  # and back


class Architecture(NamedTuple):
    """A class of transformers and the tfalign model it stands for.

    Its rows come before those of the family: what they place is not placed again. Of several with
    one name, the last one registered that ``applies`` is taken.
    """

    name: str
    family: Family
    model_class: type  # called with a configuration; a trunk, or a model with ``backbone``
    rows: tuple[Row, ...] = ()  # of the head, on the model
    prefix: str = ""  # of the trunk's tensors
    read_head: Callable[[dict], dict] = lambda entries: {}  # config.json -> further arguments
    write_head: Callable[[Any], dict] = lambda model: {}  # model -> further entries of config.json
    adapt: Callable[[Any, Any], Any] = lambda config, tensors: config  # to what the file holds
    applies: Callable[[dict], bool] = lambda entries: True  # to this config.json


_architectures: list[Architecture] = []


def register(architecture: Architecture) -> None:
    """Lets ``from_pretrained`` and ``save_pretrained`` know an architecture."""
    _architectures.append(architecture)


class PretrainedModel:
    """Gives a model the method ``save_pretrained``."""

    def save_pretrained(self, directory, **choices):
        """As ``models.save_pretrained``."""
        return save_pretrained(self, directory, **choices)


def from_pretrained(directory: str | os.PathLike, dtype=None, dropout: float | None = None):
    """The model of a Hugging Face directory: config.json and model.safetensors, whole or in shards;
    or of a KerasHub preset (see ``models.keras_hub``; ``dropout`` stays as it is there).

    Everything is checked before the first weight is set, and tensors are read in pieces of a few
    megabytes, so that memory holds the model once.

    Args:
        directory: as ``transformers`` and ``save_pretrained`` write it.
        dtype: dtype policy of the model, "mixed_bfloat16" for instance; Keras' default where None.
        dropout: rate instead of the one in config.json; reinforcement learning wants 0.

    Returns:
        The model that ``architectures`` in config.json names: a CausalLM, BERT, MaskedLM, ...

    Raises:
        ValueError: if the architecture or a setting is not supported, a file is absent or damaged,
            or a tensor is missing, unknown or of another shape.
    """
    directory = Path(directory)
    if (directory / _KERAS_HUB).is_file():
        return _keras_hub_model(directory, dtype)
    architecture, entries, config = _described(directory / _CONFIG)
    family = architecture.family
    head = architecture.read_head(entries)
    if dropout is not None:
        config = config.replace(dropout=dropout)
        head |= {"dropout": dropout} if "dropout" in head else {}
    tensors = _listed(directory)
    with weights_to_be_loaded():
        model = architecture.model_class(architecture.adapt(config, tensors), dtype=dtype, **head)
    _trunk(model).model_type = family.model_type
    located, absent = _located(architecture, model, tensors, directory)
    for row, variables, name in located:
        _read_into(variables, row.transform, tensors[name], name)
    for layer, weight in absent:
        variable = getattr(layer, weight)
        variable.assign(getattr(layer, f"{weight}_initializer")(variable.shape, variable.dtype))
    return model


def save_pretrained(
    model, directory: str | os.PathLike, entries=None, max_shard_bytes: int = 5_000_000_000
) -> str:
    """Writes a Hugging Face directory that ``transformers`` and ``from_pretrained`` load.

    Other files in the directory, a tokenizer for instance, stay. All is written beside its place,
    synced and renamed, config.json last: a directory that has a config.json is whole. Of several
    processes all must call it, and the chief writes.

    Args:
        model: a model whose class is registered.
        directory: made where absent.
        entries: dict of further entries of config.json, such as ``{"eos_token_id": 2}``.
        max_shard_bytes: int, a larger model is split into several files.

    Returns:
        The architecture written. One that starts with "Tfalign" has a configuration that
        ``transformers`` cannot express, such as banded attention, and is for tfalign alone.

    Raises:
        ValueError: if the model cannot be written; nothing has changed then.
    """
    architecture = _fitting(model)
    config = _entries_from_config(architecture, model) | dict(entries or {})
    shards = _shards(_bound(architecture, model), max_shard_bytes)
    if not backend.is_chief():
        _hand_in(shards)
        return architecture.name
    directory = Path(directory)
    writing = directory / _WRITING
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    files = _write_shards(writing, shards)
    _write_json(writing / _CONFIG, config)
    _move_into_place(writing, directory, files)
    return architecture.name


def read_config(directory: str | os.PathLike):
    """The configuration of a Hugging Face directory, of which config.json is enough.

    Returns:
        GPTConfig or BERTConfig.

    Raises:
        ValueError: as ``from_pretrained``.
    """
    return _described(Path(directory) / _CONFIG)[2]


def _described(file):
    """What config.json says: (Architecture, its entries as the family reads them, configuration)."""
    entries = _read_json(file)
    architecture = _named(file, entries)
    entries = architecture.family.read(entries)
    return architecture, entries, _config_from_entries(file, architecture.family, entries)


def _keras_hub_model(directory, dtype):
    from tfalign.models.keras_hub import KerasHubCausalLM

    return KerasHubCausalLM.from_preset(directory, dtype)


# Which architecture


def _trunk(model):
    return getattr(model, "backbone", model)


def _named(file, entries):
    names = entries.get("architectures") or []
    for architecture in reversed(_architectures):
        if architecture.name in names and architecture.applies(entries):
            return architecture
    known = dict.fromkeys(architecture.name for architecture in _architectures)
    raise ValueError(
        f"{file}: the supported architectures are {', '.join(known)}."
        f" Received: architectures={names}"
    )


def _fitting(model):
    """The first architecture of the model's class that can express its configuration; those of the
    kind its trunk was loaded from come first."""
    candidates = [a for a in _architectures if a.model_class is type(model)]
    loaded_from = getattr(_trunk(model), "model_type", None)
    candidates.sort(key=lambda a: a.family.model_type != loaded_from)
    reasons = []
    for architecture in candidates:
        misfit = _misfit(architecture.family, model.config)
        if misfit is None:
            return architecture
        reasons.append(f"{architecture.name} cannot have {misfit}")
    raise ValueError(
        f"A {type(model).__name__} cannot be written as a Hugging Face directory: "
        + ("; ".join(reasons) or "no architecture of that class is registered")
    )


def _misfit(family, config):
    """The first setting the family cannot express, or None."""
    if not isinstance(config, family.config_class):
        return f"a {type(config).__name__}"
    config = family.complete(config)
    for name, value in family.fixed.items():
        if getattr(config, name) != (value(config) if callable(value) else value):
            return f"{name}={getattr(config, name)!r}"
    for field in family.fields:
        value = getattr(config, field.ours)
        if field.names is not None and value not in field.names.values():
            return f"{field.ours}={value!r}"
    return None


# Configurations


def _config_from_entries(file, family, entries):
    for key, value in family.supported.items():
        if entries.get(key, value) != value:
            raise ValueError(f"{file}: {key} must be {value!r}. Received: {key}={entries[key]!r}")
    values = {name: value for name, value in family.fixed.items() if not callable(value)}
    for field in family.fields:
        value = entries.get(field.theirs, field.default)
        if value is REQUIRED:
            raise ValueError(f"{file}: {field.theirs} is missing.")
        if field.names is not None:
            if value not in field.names:
                raise ValueError(
                    f"{file}: {field.theirs} must be one of {', '.join(field.names)}."
                    f" Received: {field.theirs}={value!r}"
                )
            value = field.names[value]
        values[field.ours] = value
    return family.config_class.from_dict(values)


def _entries_from_config(architecture, model):
    family = architecture.family
    config = family.complete(model.config)
    entries = {"architectures": [architecture.name], "model_type": family.model_type}
    for field in family.fields:
        value = getattr(config, field.ours)
        if field.names is not None:
            value = next(theirs for theirs, ours in field.names.items() if ours == value)
        entries |= dict.fromkeys((field.theirs, *field.also), value)
    dtype = keras.backend.standardize_dtype(model.weights[0].dtype)
    entries |= family.supported | {"dtype": dtype}
    return architecture.write_head(model) | family.write(entries)


# Weights


class _BoundRow(NamedTuple):
    row: Row
    owner: Any
    variables: list
    names: tuple[str, ...]  # spellings in files, the one to write first


def _bound(architecture, model):
    """The rows of a model with their weights.

    Raises:
        ValueError: if a weight of the model stands in none.
    """
    bound, placed = [], set()
    for row, owner, names in _named_rows(architecture, model):
        variables = [_attribute(owner, path) for path in row.paths]
        if any(variable is None or id(variable) in placed for variable in variables):
            continue
        placed |= {id(variable) for variable in variables}
        spellings = tuple(spelling for name in names for spelling in _spellings(name))
        bound.append(_BoundRow(row, owner, variables, spellings))
    homeless = [weight.path for weight in model.weights if id(weight) not in placed]
    if homeless:
        raise ValueError(f"{architecture.name} has no place for {', '.join(homeless)}")
    return bound


def _named_rows(architecture, model):
    """(row, what its paths start from, its spellings without those of ``_spellings``)."""
    family, trunk = architecture.family, _trunk(model)
    prefixes = tuple(dict.fromkeys((architecture.prefix, family.prefix, "")))
    for row in architecture.rows:
        yield row, model, (row.name,)
    for row in family.rows(trunk.config):
        yield row, trunk, tuple(prefix + row.name for prefix in prefixes)


def named_layers(model):
    """What ``transformers`` calls the parts of a model that have weights.

    Args:
        model: of a registered class.

    Returns:
        dict of module name, "model.layers.0.self_attn.q_proj" for instance, to the list of layers of
        tfalign it stands for, several where it holds them side by side.
    """
    layers = {}
    for row, owner, names in _named_rows(_fitting(model), model):
        module, _, _ = names[0].rpartition(".")
        owners = [_attribute(owner, path.rpartition(".")[0]) for path in row.paths]
        if None not in owners and module not in layers:
            layers[module] = owners
    return layers


def _attribute(owner, path):
    for part in path.split("."):
        owner = owner[int(part)] if part.isdigit() else getattr(owner, part, None)
        if owner is None:
            return None
    return owner


def _spellings(name):
    """A name, and what TensorFlow's first BERT called the weights of LayerNorm."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
    return dict.fromkeys((name, old.replace("LayerNorm.bias", "LayerNorm.beta")))


def _located(architecture, model, tensors, directory):
    """((row, variables, tensor name) of every row, all names, shapes and dtypes checked;
    (layer, weight's name) of what the file may lack and does)."""
    located, absent, known = [], [], set()
    for row, owner, variables, names in _bound(architecture, model):
        name = next((name for name in names if name in tensors), None)
        if name is None:
            if not row.optional:
                raise ValueError(f"{directory}: tensor {names[0]!r} is missing.")
            paths = [path.rpartition(".") for path in row.paths]
            absent += [(_attribute(owner, layer), weight) for layer, _, weight in paths]
            continue
        known.add(name)
        held = tensors[name]
        expected = row.transform.file_shape([tuple(v.shape) for v in variables])
        if held.shape != tuple(expected):
            raise ValueError(
                f"{directory}: tensor {name!r} must have shape {tuple(expected)}."
                f" Received: shape={held.shape}"
            )
        if held.dtype not in _FLOATS:
            raise ValueError(
                f"{directory}: tensor {name!r} must be one of {', '.join(_FLOATS)}."
                f" Received: dtype={held.dtype}"
            )
        located.append((row, variables, name))
    ignored = re.compile(architecture.family.ignored)
    for name in tensors:
        if name not in known and not ignored.search(name):
            raise ValueError(
                f"{directory}: a {architecture.name} has no tensor {name!r}; is config.json of"
                " another model?"
            )
    return located, absent


# Files


class _Held(NamedTuple):
    """A tensor in a file."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def _listed(directory):
    """Tensor name -> _Held, of all files of a directory."""
    if (directory / _INDEX).exists():
        listed = _read_json(directory / _INDEX).get("weight_map", {})
        files = sorted(set(listed.values()))
    else:
        listed, files = {}, [_WEIGHTS]
    tensors = {}
    for name in files:
        file = directory / name
        if Path(name).name != name or not file.is_file():
            raise ValueError(f"{file} is missing.")
        try:
            with safe_open(file, framework="numpy") as opened:
                slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118
                tensors |= {
                    key: _Held(file, tuple(part.get_shape()), part.get_dtype())
                    for key, part in slices.items()
                }
        except SafetensorError as error:
            raise ValueError(f"{file} is truncated or not a safetensors file: {error}.") from error
    for name, file in listed.items():
        if name not in tensors:
            raise ValueError(f"{directory / file}: tensor {name!r} of {_INDEX} is missing.")
    return tensors


def _read_into(variables, transform, held, name):
    """Sets weights from a tensor, piece by piece.

    The file is opened for every piece: a page of a mapped file that was touched counts as memory
    until the file is closed.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    rows, size = (held.shape or (1,))[0], math.prod(held.shape)
    whole = size <= _PIECE or len(held.shape) < 2 or transform.axis is None
    step = rows if whole else max(1, _PIECE * rows // size)
    for start in range(0, rows, step):
        with safe_open(held.file, framework="numpy") as opened:
            if whole:
                piece = opened.get_tensor(name)
            else:
                piece = opened.get_slice(name)[start : min(start + step, rows)]
        for variable, array in zip(variables, transform.from_file(piece, shapes)):
            backend.assign_part(variable, array, start, transform.axis)


def _read_json(file):
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} must hold a JSON object. Received: {type(value).__name__}")
    return value


def _shards(bound, max_bytes):
    """Rows in lists of at most so many bytes, though at least one row each."""
    shards, size = [[]], 0
    for bound_row in bound:
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


def _write_shards(folder, shards):
    """Writes the weights, one shard in memory at a time; returns the files' names."""
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if shards[1:] else _WEIGHTS
        tensors = {}
        for row, _, variables, names in shard:
            arrays = [backend.to_numpy(v) for v in variables]
            tensors[names[0]] = np.asarray(row.transform.to_file(arrays), order="C")
        save_file(tensors, folder / file, metadata={"format": "pt"})  # transformers asks for it
        _sync(folder / file)
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    files = sorted(set(weight_map.values()))
    if shards[1:]:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _write_json(folder / _INDEX, index)
        files.append(_INDEX)
    return files


def _hand_in(shards):
    """What another process needs to write the shards: the parts of the weights that lie here."""
    for shard in shards:
        for row in shard:
            for variable in row.variables:
                backend.to_numpy(variable)


def _write_json(file, value):
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    _sync(file)


def _sync(file):
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def _move_into_place(writing, directory, files):
    (directory / _CONFIG).unlink(missing_ok=True)
    for path in list(directory.iterdir()):
        if path.name in (_WEIGHTS, _INDEX) or _SHARD.fullmatch(path.name):
            path.unlink()
    for name in (*files, _CONFIG):
        os.replace(writing / name, directory / name)
    writing.rmdir()
