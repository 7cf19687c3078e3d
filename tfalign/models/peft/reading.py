"""Loading a directory of adapters into a model."""

from __future__ import annotations

import os
from typing import NamedTuple

import keras
import numpy as np

from tfalign.files import as_path
from tfalign.models.huggingface.binding import attribute, named_modules
from tfalign.models.huggingface.registry import fitting, trunk_of
from tfalign.models.huggingface.tensors import FLOATS, list_file, read_whole
from tfalign.models.lora import AdaptedDense, LoRA, add_adapters
from tfalign.models.peft.config import AdapterConfig, read_adapter_config
from tfalign.models.peft.modules import (
    LENGTHS,
    ROOT,
    WEIGHTS,
    A,
    B,
    as_array,
    is_tied_table,
    layers_of,
)

_READOUT = "lm_head"


class _Whole(NamedTuple):
    """A tensor that replaces a weight of the base."""

    module: str
    part: str
    array: np.ndarray


def load_adapters(model: keras.Model, directory: str | os.PathLike) -> None:
    """Gives a model the adapters of a directory, and what was saved whole with them, such as a head;
    the rest is frozen.

    Args:
        model: the base they were trained on.
        directory: as ``save_adapters`` and ``peft`` write it.

    Raises:
        ValueError: if a file is absent or damaged, a setting is not supported, or a tensor does not
            fit the model; the model is unchanged then.
    """
    directory = as_path(directory)
    config = read_adapter_config(directory)
    file = directory / WEIGHTS
    modules, tensors = named_modules(model), _read(file)
    try:
        parts, whole = _sorted(tensors, modules, config)
        _check_targets(parts, modules, config)
        for module, held in parts.items():
            _check_adapter(module, held, _kernels(module, modules), config)
        readout = _check_whole(model, whole, modules, config)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    for variable in model.variables:
        variable.trainable = False
    for module, held in parts.items():
        _attach(layers_of(*modules[module]), module, held, config)
    if readout is not None:
        _untie(model, readout)
    for module, part, array in whole:
        if module in modules:
            _assign(*modules[module], part, array)


def _read(file):
    tensors = {}
    for name, held in list_file(file).items():
        if held.dtype not in FLOATS:
            raise ValueError(
                f"{file}: tensor {name!r} must hold floats. Received: dtype={held.dtype}"
            )
        tensors[name] = np.asarray(read_whole(held), "float32")
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"{file}: tensor {name!r} holds a number that is not finite.")
    return tensors


def _sorted(tensors, modules, config):
    """(module -> part of its adapter -> array, [_Whole])."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    whole: dict[tuple[str, str], _Whole] = {}
    for name, array in tensors.items():
        module, part = _split(name, modules)
        if part in (A, B, LENGTHS):
            parts.setdefault(module, {})[part] = array
        elif (module, part) in whole:
            raise ValueError(f"{module}.{part} stands twice.")
        else:
            whole[module, part] = _Whole(module, part, array)
    for module, (_, rows) in modules.items():
        needed = [part for part, row in rows.items() if not row.optional]
        absent = [part for part in needed if (module, part) not in whole]
        if config.is_saved(module) and absent:
            raise ValueError(f"{module}.{absent[0]} of modules_to_save is missing.")
    return parts, list(whole.values())


def _split(name, modules):
    """(module, part) of a tensor's name."""
    known = {**modules, _READOUT: (None, {"weight": None})}
    for part in (A, B, LENGTHS, *("weight", "bias")):
        module = name.removeprefix(ROOT).removesuffix(f".{part}")
        module = module.removesuffix(".modules_to_save.default").removesuffix(".modules_to_save")
        is_named = name.startswith(ROOT) and name.endswith(f".{part}") and module in known
        if is_named and (part in (A, B, LENGTHS) or part in known[module][1]):
            return module, part
    raise ValueError(f"the model has no place for tensor {name!r}.")


def _kernels(module, modules):
    """Shapes of the kernels an adapter of a module would stand beside, or None."""
    if module not in modules:
        return None
    layers = layers_of(*modules[module])
    if any(type(layer) not in (keras.layers.Dense, AdaptedDense) for layer in layers):
        return None
    return [tuple(layer.kernel.shape) for layer in layers]


def _check_targets(parts, modules, config):
    """An adapter outside the targets would be left out by peft, and one that is missing is 0 there or
    random; neither is what was trained."""
    for module in modules:
        is_linear = _kernels(module, modules) is not None
        if is_linear and config.is_target(module, is_linear) and module not in parts:
            raise ValueError(f"{module}.{A} is missing, which target_modules asks for.")
    for module in parts:
        if not config.is_target(module, _kernels(module, modules) is not None):
            raise ValueError(
                f"target_modules does not ask for {module}.{next(iter(parts[module]))}."
            )


def _check_adapter(module, held, kernels, config):
    if kernels is None:
        raise ValueError(f"{module} is no linear layer, others cannot have adapters here.")
    rank, outputs = config.rank(module), sum(shape[1] for shape in kernels)
    expected = {A: (rank, kernels[0][0]), B: (outputs, rank)}
    expected |= {LENGTHS: (outputs,)} if config.use_dora else {}
    for part in (*expected, *held):
        if part not in held:
            raise ValueError(f"{module}.{part} is missing.")
        if part not in expected:
            raise ValueError(f"{module}.{part} is of DoRA, but use_dora is false.")
        if held[part].shape != expected[part]:
            raise ValueError(
                f"{module}.{part} must have shape {expected[part]}."
                f" Received: shape={held[part].shape}"
            )


def _check_whole(model, whole, modules, config):
    """Checks what replaces weights; returns the kernel of an LM head that is tied no longer, or None."""
    table, readout, tied = None, None, _tied_table(model)
    for module, part, array in whole:
        if module not in modules:
            shape = None if tied is None else tuple(tied.embeddings.shape)
            readout = array
        else:
            owner, rows = modules[module]
            shapes = [tuple(attribute(owner, path).shape) for path in rows[part].paths]
            shape = tuple(rows[part].transform.file_shape(shapes))
            if tied is not None and layers_of(owner, rows)[0] is tied and config.is_saved(module):
                table = array
        if shape is None:
            raise ValueError(f"the model has no place for tensor {module}.{part}.")
        if array.shape != shape:
            raise ValueError(
                f"{module}.{part} must have shape {shape}. Received: shape={array.shape}"
            )
        if module in modules and any(
            getattr(layer, "adapter", None) is not None or config.is_target(module, True)
            for layer in layers_of(*modules[module])
            if type(layer) in (keras.layers.Dense, AdaptedDense)
        ):
            raise ValueError(f"{module} cannot have an adapter and be saved whole.")
    return _own_readout(model, table, readout, config)


def _tied_table(model):
    """The table of tokens, if it is tied to an LM head that peft knows."""
    table = getattr(trunk_of(model), "token_embedding", None)
    return table if table is not None and is_tied_table(model, table) else None


def _own_readout(model, table, readout, config):
    """float32[V, W], the LM head of a tied model from now on if it is not its table, or None."""
    if table is None and readout is None:
        return None
    base = as_array(_tied_table(model).embeddings)
    if np.array_equal(base if table is None else table, base if readout is None else readout):
        return None
    if not fitting(model).generates:
        raise ValueError(
            "the table of tokens is saved alone, but this model reads out with it, too."
        )
    if config.ensure_weight_tying:
        raise ValueError("ensure_weight_tying needs the read-out to equal the table of tokens.")
    return base if readout is None else readout


def _untie(model, readout):
    trunk = trunk_of(model)
    trunk.token_embedding.untie()
    trunk.config = trunk.config.replace(tied=False)
    trunk.token_embedding.kernel.assign(readout.T)
    trunk.token_embedding.kernel.trainable = True


def _assign(owner, rows, part, array):
    variables = [attribute(owner, path) for path in rows[part].paths]
    shapes = [tuple(variable.shape) for variable in variables]
    for variable, value in zip(variables, rows[part].transform.from_file(array, shapes)):
        variable.assign(value)
        variable.trainable = True


def _attach(layers, module, held, config: AdapterConfig):
    rank, dora = held[A].shape[0], config.use_dora
    lora = LoRA(rank, config.alpha(module), dropout=float(config.lora_dropout), dora=dora)
    ends = np.cumsum([layer.kernel.shape[1] for layer in layers])[:-1]
    ups = np.split(held[B], ends, axis=0)
    magnitudes = np.split(held[LENGTHS], ends) if dora else [None] * len(layers)
    for layer, up, magnitude in zip(layers, ups, magnitudes):
        add_adapters(layer, lora)
        layer.adapter.down.assign(held[A].T)
        layer.adapter.up.assign(up.T)
        if dora:
            layer.adapter.magnitude.assign(magnitude)
