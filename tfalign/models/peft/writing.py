"""Saving a model's adapters to a directory."""

from __future__ import annotations

import os

import keras
import numpy as np
from keras import ops
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tfalign import backend
from tfalign.files import AnyPath, as_path, folder_beside, move, to_json, write_synced
from tfalign.models.huggingface.binding import attribute, named_modules
from tfalign.models.huggingface.registry import fitting
from tfalign.models.huggingface.writing import as_permitted
from tfalign.models.lora import adapted_layers, column_norms
from tfalign.models.peft.config import CONFIG, is_saved_by
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

_HEAD, _HEAD_NAMES = "classifier", ("score", "classifier")


def save_adapters(model: keras.Model, directory: str | os.PathLike, base: str = "") -> None:
    """Writes the adapters of a model, and what else of it is trained, such as a head. Of several
    processes all must call it, and the chief writes.

    Args:
        model: of a class ``save_pretrained`` knows, with adapters.
        directory: made where absent.
        base: str, where the base model is to be had; goes into adapter_config.json.

    Raises:
        ValueError: if the model has no adapters, they differ in kind, a number is not finite, or the
            disk is full.
    """
    directory = as_path(directory)
    adapted = {id(dense) for dense in adapted_layers(model)}
    if not adapted:
        raise ValueError("The model has no adapters to save")
    adapters, whole, scales, kinds = {}, {}, {}, set()
    for name, (owner, rows) in named_modules(model).items():
        layers = layers_of(owner, rows)
        with_adapters = [layer for layer in layers if id(layer) in adapted]
        if with_adapters:
            adapters[name] = _joined(layers) if layers[1:] else _single(layers[0])
            scales[name] = with_adapters[0].adapter.scale
            kinds |= {layer.adapter.dora for layer in with_adapters}
        else:
            whole[name] = owner, rows
    if len(kinds) > 1:
        raise ValueError("Some adapters are DoRA and others are not, which peft cannot say")
    saved, task, tensors = _saved(model, whole)
    tensors |= {(name, part): a for name, parts in adapters.items() for part, a in parts.items()}
    ranks = {name: parts[A].shape[0] for name, parts in adapters.items()}
    alphas = {name: scales[name] * rank for name, rank in ranks.items()}
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base or None,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": float(adapted_layers(model)[0].adapter.dropout),
        "use_dora": kinds.pop(),
        "target_modules": sorted(ranks),
        "modules_to_save": saved or None,
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alpha},
        "bias": "none",
        "inference_mode": True,
    }
    if backend.is_chief():
        named = {f"{ROOT}{name}.{part}": array for (name, part), array in tensors.items()}
        _write(directory, named, config)


def _saved(model, modules):
    """(names for modules_to_save, the task, (module, part) -> array) of what is trained whole."""
    trained = {name for name, (owner, rows) in modules.items() if _is_trained(owner, rows)}
    tied = {name for name, of in modules.items() if is_tied_table(model, layers_of(*of)[0])}
    # peft keeps a head of several layers as one
    saved = [
        _HEAD if name.startswith(f"{_HEAD}.") else name
        for name in modules
        if name in trained - tied
    ]
    saved = list(dict.fromkeys(saved))
    task = _task(model, saved)
    # in one order in all processes: what lies elsewhere is handed in
    written = [name for name in modules if name in trained or is_saved_by(name, saved, task)]
    return (
        saved,
        task,
        {
            (name, part): array
            for name in written
            for part, array in _arrays(*modules[name]).items()
        },
    )


def _is_trained(owner, rows):
    paths = [path for row in rows.values() for path in row.paths]
    return any(attribute(owner, path).trainable for path in paths)


def _arrays(owner, rows):
    """Part -> array, as a file has it, of a module's weights."""
    held = {part: [attribute(owner, path) for path in row.paths] for part, row in rows.items()}
    return {part: rows[part].transform.to_file([*map(as_array, v)]) for part, v in held.items()}


def _task(model, saved):
    """peft's name of what a model is for; it asks some of them for a saved head."""
    architecture = fitting(model)
    has_head = any(name.split(".")[0] in _HEAD_NAMES for name in saved)
    if architecture.generates:
        return "CAUSAL_LM"
    if architecture.name.endswith("SequenceClassification") and has_head:
        return "SEQ_CLS"
    return "TOKEN_CLS" if architecture.name.endswith("TokenClassification") and has_head else None


def _write(directory: AnyPath, tensors, config):
    in_order = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    for name, array in in_order.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"{directory} is not written: {name} holds a number that is not finite."
            )
    text = to_json(directory / CONFIG, config)
    try:
        with folder_beside(directory) as writing:
            write_synced(writing / CONFIG, text)
            save_file(in_order, writing / WEIGHTS, metadata={"format": "pt"})
            as_permitted(writing / WEIGHTS, like=writing / CONFIG)
            for name in (WEIGHTS, CONFIG):
                move(writing / name, directory / name)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{directory} cannot be written: {reason}. What was there is unchanged."
        ) from error


def _single(dense):
    adapter = dense.adapter
    parts = {A: as_array(adapter.down).T, B: as_array(adapter.up).T}
    if adapter.dora:
        parts[LENGTHS] = as_array(adapter.magnitude)
    return parts


def _joined(layers):
    """One adapter for kernels side by side: their A one above the other, their B on the diagonal; zeros
    for a kernel that has none."""
    first = next(layer.adapter for layer in layers if getattr(layer, "adapter", None) is not None)
    inputs = layers[0].kernel.shape[0]
    downs, ups, magnitudes = [], [], []
    for layer in layers:
        adapter, outputs = getattr(layer, "adapter", None), layer.kernel.shape[1]
        if adapter is None:
            downs.append(np.zeros((first.rank, inputs), "float32"))
            ups.append(np.zeros((outputs, first.rank), "float32"))
            magnitudes.append(ops.convert_to_numpy(column_norms(as_array(layer.kernel))))
            continue
        downs.append(as_array(adapter.down).T)
        # one scale for all: what another has goes into its B
        ups.append(as_array(adapter.up).T * (adapter.scale / first.scale))
        magnitudes.append(as_array(adapter.magnitude) if adapter.dora else None)
    parts = {A: np.concatenate(downs), B: _block_diagonal(ups)}
    if first.dora:
        parts[LENGTHS] = np.concatenate(magnitudes)
    return parts


def _block_diagonal(blocks):
    heights, widths = np.cumsum([[0, 0], *(block.shape for block in blocks)], axis=0).T
    whole = np.zeros((heights[-1], widths[-1]), blocks[0].dtype)
    for at, block in enumerate(blocks):
        whole[heights[at] : heights[at + 1], widths[at] : widths[at + 1]] = block
    return whole
