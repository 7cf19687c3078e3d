"""Adapters in and out, as the ``peft`` library keeps them: adapter_config.json and
adapter_model.safetensors.

GPT-2's query, key and value are one module there. Its adapter is read as three that share A; three that
do not are written as one of three times the rank.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from keras import ops
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tfalign import backend
from tfalign.models.huggingface import named_layers
from tfalign.models.lora import LoRA, adapted_layers, add_adapters, column_norms

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ROOT = "base_model.model."
_PARTS = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
# what tfalign computes in one way only
_SUPPORTED = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "lora_bias": (False, None),
    "use_qalora": (False, None),
    "use_bdlora": (False, None),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None,),
    "alora_invocation_tokens": (None,),
}


def save_adapters(model, directory: str | os.PathLike, base: str = "") -> None:
    """Writes the adapters of a model, and what else of it is trained, such as a head. Of several
    processes all must call it, and the chief writes.

    Args:
        model: of a class ``save_pretrained`` knows, with adapters.
        directory: made where absent.
        base: str, where the base model is to be had; goes into adapter_config.json.

    Raises:
        ValueError: if the model has no adapters, or they differ in scale or kind.
    """
    adapted = {id(dense) for dense in adapted_layers(model)}
    if not adapted:
        raise ValueError("The model has no adapters to save")
    tensors, ranks, alphas, kinds, saved = {}, {}, {}, set(), []
    for name, layers in named_layers(model).items():
        with_adapters = [layer for layer in layers if id(layer) in adapted]
        if with_adapters:
            parts = _joined(layers) if layers[1:] else _single(layers[0])
            tensors |= {f"{_ROOT}{name}.{part}": array for part, array in parts.items()}
            ranks[name] = parts["lora_A.weight"].shape[0]
            alphas[name] = with_adapters[0].adapter.scale * ranks[name]
            kinds |= {layer.adapter.dora for layer in with_adapters}
        elif layers[0].trainable_variables and not layers[1:]:
            tensors |= {f"{_ROOT}{name}.{part}": a for part, a in _plain(layers[0]).items()}
            saved.append(name)
    if len(kinds) > 1:
        raise ValueError("Some adapters are DoRA and others are not, which peft cannot say")
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if saved else "CAUSAL_LM",
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
    if not backend.is_chief():
        return
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    in_order = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(in_order, directory / _WEIGHTS, metadata={"format": "pt"})
    (directory / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapters(model, directory: str | os.PathLike) -> None:
    """Gives a model the adapters of a directory, and the heads saved with them; the rest is frozen.

    Args:
        model: the base they were trained on.
        directory: as ``save_adapters`` and ``peft`` write it.

    Raises:
        ValueError: if a file is absent or damaged, a setting is not supported, or a tensor does not
            fit the model; the model is unchanged then.
    """
    directory = Path(directory)
    config, tensors = _read(directory)
    modules = named_layers(model)
    parts, plain = {}, {}
    for name, tensor in tensors.items():
        module, part = _split(directory, name, modules)
        if part in _PARTS:
            parts.setdefault(module, {})[part] = tensor
        else:
            plain[module, part] = tensor
    _check(directory, parts, plain, modules)
    for variable in model.variables:
        variable.trainable = False
    for module, held in parts.items():
        _attach(modules[module], module, held, config)
    for (module, part), tensor in plain.items():
        layer = modules[module][0]
        variable, array = _slot(layer, part, tensor)
        variable.assign(array)
        variable.trainable = True


def _single(dense):
    adapter = dense.adapter
    parts = {"lora_A.weight": _array(adapter.down).T, "lora_B.weight": _array(adapter.up).T}
    if adapter.dora:
        parts["lora_magnitude_vector"] = _array(adapter.magnitude)
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
            magnitudes.append(ops.convert_to_numpy(column_norms(_array(layer.kernel))))
            continue
        downs.append(_array(adapter.down).T)
        # one scale for all: what another has goes into its B
        ups.append(_array(adapter.up).T * (adapter.scale / first.scale))
        magnitudes.append(_array(adapter.magnitude) if adapter.dora else None)
    parts = {
        "lora_A.weight": np.concatenate(downs),
        "lora_B.weight": _block_diagonal(ups),
    }
    if first.dora:
        parts["lora_magnitude_vector"] = np.concatenate(magnitudes)
    return parts


def _block_diagonal(blocks):
    heights, widths = np.cumsum([[0, 0], *(block.shape for block in blocks)], axis=0).T
    whole = np.zeros((heights[-1], widths[-1]), blocks[0].dtype)
    for at, block in enumerate(blocks):
        whole[heights[at] : heights[at + 1], widths[at] : widths[at + 1]] = block
    return whole


def _plain(dense):
    parts = {"weight": _array(dense.kernel).T}
    return parts if dense.bias is None else parts | {"bias": _array(dense.bias)}


def _attach(layers, module, held, config):
    rank = held["lora_A.weight"].shape[0]
    alpha = _pattern(config, "alpha_pattern", module, config["lora_alpha"])
    if config.get("use_rslora"):  # alpha / sqrt(rank) instead of alpha / rank
        alpha = alpha * rank**0.5
    dora = bool(config.get("use_dora"))
    lora = LoRA(rank, float(alpha), dropout=config.get("lora_dropout", 0.0), dora=dora)
    ends = np.cumsum([layer.kernel.shape[1] for layer in layers])[:-1]
    ups = np.split(held["lora_B.weight"], ends, axis=0)
    magnitudes = np.split(held["lora_magnitude_vector"], ends) if dora else [None] * len(layers)
    for layer, up, magnitude in zip(layers, ups, magnitudes):
        add_adapters(layer, lora)
        layer.adapter.down.assign(held["lora_A.weight"].T)
        layer.adapter.up.assign(up.T)
        if dora:
            layer.adapter.magnitude.assign(magnitude)


def _pattern(config, key, module, default):
    """The value of a module: of the pattern that ends its name, as peft matches them."""
    for pattern, value in (config.get(key) or {}).items():
        if module == pattern or module.endswith(f".{pattern}"):
            return value
    return default


def _read(directory):
    file = directory / _CONFIG
    try:
        config = json.loads(file.read_bytes())
        tensors = load_file(directory / _WEIGHTS)
    except OSError as error:
        raise ValueError(f"{error.filename or directory} cannot be read") from error
    except SafetensorError as error:
        raise ValueError(f"{directory / _WEIGHTS} is truncated or damaged: {error}.") from error
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}.") from error
    for key, allowed in _SUPPORTED.items():
        if config.get(key, allowed[0]) not in allowed:
            raise ValueError(f"{file}: {key} must be {allowed[0]!r}. Received: {config[key]!r}")
    return config, tensors


def _split(directory, name, modules):
    """(module, part) of a tensor's name."""
    for part in (*_PARTS, "weight", "bias"):
        module = name.removeprefix(_ROOT).removesuffix(f".{part}")
        module = module.removesuffix(".modules_to_save.default")
        if name.endswith(f".{part}") and module in modules:
            return module, part
    raise ValueError(f"{directory / _WEIGHTS}: the model has no place for tensor {name!r}")


def _check(directory, parts, plain, modules):
    for module, held in parts.items():
        kernels = [layer.kernel.shape for layer in modules[module]]
        rank = held.get("lora_A.weight", np.zeros((0, 0))).shape[0]
        outputs = sum(shape[1] for shape in kernels)
        expected = {
            "lora_A.weight": (rank, kernels[0][0]),
            "lora_B.weight": (outputs, rank),
            "lora_magnitude_vector": (outputs,),
        }
        for part in _PARTS[:2]:
            if part not in held:
                raise ValueError(f"{directory / _WEIGHTS}: {module}.{part} is missing")
        for part, tensor in held.items():
            if tensor.shape != tuple(expected[part]):
                raise ValueError(
                    f"{directory / _WEIGHTS}: {module}.{part} must have shape"
                    f" {tuple(expected[part])}. Received: shape={tensor.shape}"
                )
    for (module, part), tensor in plain.items():
        variable, array = _slot(modules[module][0], part, tensor)
        if variable is None or tuple(variable.shape) != array.shape:
            raise ValueError(f"{directory / _WEIGHTS}: {module}.{part} does not fit the model")


def _slot(layer, part, tensor):
    """The variable a plain tensor goes to, and how it goes there."""
    return (layer.kernel, tensor.T) if part == "weight" else (layer.bias, tensor)


def _array(variable):
    return backend.to_numpy(variable).astype("float32")
