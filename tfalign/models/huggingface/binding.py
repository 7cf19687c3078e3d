"""Binding of a model's weights to the tensors of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tfalign.models.config import ModelConfig
from tfalign.models.huggingface.registry import fitting, trunk_of
from tfalign.models.huggingface.shapes import UNKNOWN, shape_of
from tfalign.models.huggingface.tables import Architecture, Row
from tfalign.models.huggingface.tensors import FLOATS, Held


class Part(NamedTuple):
    """An element of a variable's first axis: of the weights of all experts those of one."""

    whole: Any
    number: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.whole.shape)[1:]

    @property
    def dtype(self) -> str:
        return self.whole.dtype


class BoundRow(NamedTuple):
    row: Row
    owner: Any
    variables: list
    names: tuple[str, ...]  # spellings in files, the one to write first


def bound(architecture: Architecture, model: keras.Model) -> list[BoundRow]:
    """The rows of a model with their weights.

    Raises:
        ValueError: if a weight of the model stands in none.
    """
    found, placed = [], set()
    for row, owner, names in _named_rows(architecture, model, model.config):
        variables = [attribute(owner, path) for path in row.paths]
        keys = {(id(variable), row.part) for variable in variables}
        if any(variable is None for variable in variables) or keys & placed:
            continue
        placed |= keys
        if row.part is not None:
            variables = [Part(variable, row.part) for variable in variables]
        found.append(BoundRow(row, owner, variables, names))
    with_a_place = {variable for variable, _ in placed}
    homeless = [weight.path for weight in model.weights if id(weight) not in with_a_place]
    if homeless:
        raise ValueError(f"{architecture.name} has no place for {', '.join(homeless)}")
    return found


def _named_rows(architecture, model, config):
    """(row, what its paths start from, its spellings); ``model`` may be None."""
    family, trunk = architecture.family, None if model is None else trunk_of(model)
    prefixes = tuple(dict.fromkeys((architecture.prefix, family.prefix, "")))
    for row in architecture.rows:
        yield row, model, tuple(_spellings(row.name))
    for row in family.rows(config):
        names = [spelling for prefix in prefixes for spelling in _spellings(prefix + row.name)]
        yield row, trunk, tuple(names)


def _spellings(name):
    """A name, and what TensorFlow's first BERT called the weights of LayerNorm."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
    return dict.fromkeys((name, old.replace("LayerNorm.bias", "LayerNorm.beta")))


def attribute(owner: Any, path: str) -> Any:
    for part in path.split("."):
        owner = owner[int(part)] if part.isdigit() else getattr(owner, part, None)
        if owner is None:
            return None
    return owner


def named_layers(model: keras.Model) -> dict[str, list]:
    """What ``transformers`` calls the parts of a model that have weights.

    Args:
        model: of a registered class.

    Returns:
        dict of module name, "model.layers.0.self_attn.q_proj" for instance, to the list of layers of
        tfalign it stands for, several where it holds them side by side.
    """
    return {
        module: [attribute(owner, path.rpartition(".")[0]) for path in rows["weight"].paths]
        for module, (owner, rows) in named_modules(model).items()
        if "weight" in rows
    }


def named_modules(model: keras.Model) -> dict[str, tuple[Any, dict[str, Row]]]:
    """As ``named_layers``, to (what the paths of its rows start from, its rows by their last name)."""
    modules: dict[str, tuple[Any, dict[str, Row]]] = {}
    placed = set()
    for row, owner, names in _named_rows(fitting(model), model, model.config):
        if row.part is not None:  # a part of a module
            continue
        module, _, part = names[0].rpartition(".")
        if not any(attribute(owner, path) is None for path in row.paths):
            starts = {(id(attribute(owner, path.rpartition(".")[0])), path) for path in row.paths}
            starts = {(layer, path.rpartition(".")[2]) for layer, path in starts}
            if not placed & starts:
                modules.setdefault(module, (owner, {}))[1].setdefault(part, row)
            placed |= starts
    return modules


def check_header(
    directory: str | os.PathLike,
    architecture: Architecture,
    config: ModelConfig,
    head: Mapping[str, Any],
    tensors: Mapping[str, Held],
) -> None:
    """Compares the tensors that a configuration asks for with those of the files, before anything is
    built: names, shapes and dtypes.

    Args:
        directory: for the messages.
        architecture: tables.Architecture.
        config: its family's configuration.
        head: dict, what ``read_head`` returned.
        tensors: name -> tensors.Held.

    Raises:
        ValueError: naming the first tensor that is missing or does not fit.
    """
    config = architecture.family.complete(config)
    if getattr(config, "num_layers", 1) > len(tensors):
        raise ValueError(
            f"{directory}: {config.num_layers} layers need more tensors than there are."
            f" Received: {len(tensors)} tensors"
        )
    shapes = {**architecture.family.shapes(config), **architecture.shapes(config, head)}
    placed: set[tuple[str, int | None]] = set()
    for row, _, names in _named_rows(architecture, None, config):
        paths = [path.removeprefix("backbone.") for path in row.paths]
        expected = [shape_of(path, shapes) for path in paths]
        keys = {(path, row.part) for path in paths}
        if None in expected or UNKNOWN in expected or placed & keys:
            continue
        placed |= keys
        if row.part is not None:
            expected = [shape[1:] for shape in expected]
        name = held_name(row, names, tensors, directory)
        if name is not None:
            check_shape(directory, tensors[name], row.transform.file_shape(expected))


def held_name(
    row: Row, names: Sequence[str], tensors: Mapping[str, Held], directory: str | os.PathLike
) -> str | None:
    """The spelling a file has of a row; None where it has none and may."""
    name = next((name for name in names if name in tensors), None)
    if name is None and not row.optional:
        raise ValueError(f"{directory}: tensor {names[0]!r} is missing.")
    twice = [spelling for spelling in names if spelling in tensors and spelling != name]
    if twice:
        raise ValueError(
            f"{directory}: tensors {name!r} and {twice[0]!r} are one and the same weight."
        )
    return name


def check_shape(directory: str | os.PathLike, held: Held, expected: Sequence[int]) -> None:
    if held.shape != tuple(expected):
        raise ValueError(
            f"{directory}: tensor {held.name!r} must have shape {tuple(expected)}."
            f" Received: shape={held.shape}"
        )
    if held.dtype not in FLOATS:
        raise ValueError(
            f"{directory}: tensor {held.name!r} must be one of {', '.join(FLOATS)}."
            f" Received: dtype={held.dtype}"
        )
