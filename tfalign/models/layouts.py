"""Sharding of a model's weights over a mesh of devices: data parallel, FSDP and tensor parallel.

A mesh has two axes or three. Rows of a batch are spread over the first, "data", "fsdp" or "expert"; heads and hidden
units over the second, "model", as in Megatron-LM (Shoeybi et al. 2019): queries, keys, values and the first
feed-forward matrices by columns, the matrices after them by rows, so that one all-reduce a sub-layer is
enough; token embeddings by their width, since vocabularies are seldom divisible. With "fsdp" the other
axis of every matrix is spread over the devices that share the rows, too, and gathered where it is used
(ZeRO-3, Rajbhandari et al. 2020). With "expert" so are they, but for the experts of a mixture, which stay where
they are: each device holds some of them, and is sent the tokens of all rows that chose them (GShard, Lepikhin et
al. 2021). What is not a matrix is held whole. A third axis, "context", cuts the sequences: for those longer than a
device has memory for, see ``backend.jax_context``.

Keras' own machinery does the rest, on its JAX backend: a variable made while the distribution is set gets
its layout by its path, optimizers' moments that of their variable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import keras

from tfalign.models.config import ModelConfig

_ROWS = ("data", "fsdp", "expert")
_COLUMN, _ROW = "column", "row"
_CUTS = {  # path of a variable in any of our Transformers -> what tensor parallelism cuts
    r"(.*[/_])?attention/(query|key|value)/kernel": _COLUMN,
    r"(.*[/_])?attention/output/kernel": _ROW,
    r"(.*/)?feed_forward/(inner|gate)/kernel": _COLUMN,
    r"(.*/)?feed_forward/outer/kernel": _ROW,
}
_EXPERTS = {  # of arrays [E, inputs, outputs]
    r"(.*/)?feed_forward/experts/(inner|gate)": _COLUMN,
    r"(.*/)?feed_forward/experts/outer": _ROW,
}
_OF_EXPERTS = r"(.*/)?feed_forward/experts/output"
_EMBEDDING, _READOUT = r"(.*/)?token_embedding/embeddings", r"(.*/)?token_embedding/readout"
_STATES = (  # what these layers return, in a block or one by one: rows are spread, widths are whole
    r"(.*/)?(token_embedding|block_\d+|attention|output|feed_forward"
    r"|(attention|feed_forward|final)(_output)?_norm)/output"
)


def parse_mesh(text: str) -> dict[str, int]:
    """The axes of a mesh and their sizes.

    Args:
        text: str, such as "data:8", "fsdp:8", "data:2,model:4" or "fsdp:2,context:4".

    Returns:
        dict of "data", "fsdp" or "expert", "model", and "context" where it is given, to int.

    Raises:
        ValueError: if it is not of that form.

    >>> parse_mesh("data:2,model:4")
    {'data': 2, 'model': 4}
    >>> parse_mesh("model:4")
    {'data': 1, 'model': 4}
    >>> parse_mesh("fsdp:2,context:4")
    {'fsdp': 2, 'model': 1, 'context': 4}
    """
    try:
        sizes = {name: int(size) for name, size in (part.split(":") for part in text.split(","))}
    except ValueError:
        sizes = {}
    rows = [name for name in sizes if name in _ROWS]
    unknown = set(sizes) - {*_ROWS, "model", "context"}
    if not sizes or unknown or len(rows) > 1 or min(sizes.values()) < 1:
        raise ValueError(
            'A mesh is "data:N", "fsdp:N" or "expert:N", "model:M" and "context:C", separated by commas. '
            f"Received: mesh={text!r}"
        )
    first = rows[0] if rows else "data"
    context = {"context": sizes["context"]} if "context" in sizes else {}
    return {first: sizes.get(first, 1), "model": sizes.get("model", 1), **context}


def distribution(
    mesh: Mapping[str, int], devices: Sequence[str] | None = None
) -> keras.distribution.ModelParallel:
    """What ``keras.distribution.set_distribution`` takes, before any model is made.

    Args:
        mesh: dict of ``parse_mesh``.
        devices: list of str; those of the process where None.

    Returns:
        keras.distribution.ModelParallel.

    Raises:
        ValueError: if there are fewer or more devices than the mesh has.
    """
    devices = keras.distribution.list_devices() if devices is None else devices
    if math.prod(mesh.values()) != len(devices):
        shape = ",".join(f"{name}:{size}" for name, size in mesh.items())
        raise ValueError(
            f"The mesh {shape} needs {math.prod(mesh.values())} devices. Received: {len(devices)}"
        )
    device_mesh = keras.distribution.DeviceMesh(tuple(mesh.values()), tuple(mesh), devices)
    rows = next(iter(mesh))
    whole = None if rows == "data" else rows
    by_expert, within = ("expert", None) if rows == "expert" else (None, whole)
    layouts = keras.distribution.LayoutMap(device_mesh)
    for path, cut in _CUTS.items():
        layouts[path] = (whole, "model") if cut == _COLUMN else ("model", whole)
    for path, cut in _EXPERTS.items():
        axes = (within, "model") if cut == _COLUMN else ("model", within)
        layouts[path] = (by_expert, *axes)
    if by_expert:
        layouts[_OF_EXPERTS] = (None, by_expert)
    of_width = "model" if mesh["model"] > 1 else whole
    layouts[_EMBEDDING], layouts[_READOUT] = (None, of_width), (of_width, None)
    if "context" not in mesh:  # else attention says how they are cut
        layouts[_STATES] = (rows,)
    return keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name=rows, auto_shard_dataset=False
    )


def current_mesh() -> dict[str, int] | None:
    """The mesh of the distribution that is set, as ``parse_mesh`` returns one; None without one."""
    current = keras.distribution.distribution()
    if current is None:
        return None
    return dict(zip(current.device_mesh.axis_names, current.device_mesh.shape))


def check_mesh(config: ModelConfig, mesh: Mapping[str, int] | None) -> None:
    """Checks that a model can be sharded over a mesh.

    Args:
        config: GPTConfig, BERTConfig or TransformerConfig.
        mesh: dict of ``parse_mesh``; None for none.

    Raises:
        ValueError: naming what is not divisible.
    """
    needs = {
        "num_heads": (config.num_heads, "model"),
        "num_key_value_heads": (
            getattr(config, "num_key_value_heads", None) or config.num_heads,
            "model",
        ),
        "hidden_dim": (config.hidden_dim or 4 * config.width, "model"),
        "expert_dim": (getattr(config, "expert_dim", None), "model"),
        "num_experts": (getattr(config, "num_experts", None), "expert"),
    }
    needs["width"] = config.width, "expert" if "expert" in (mesh or {}) else "fsdp"
    for name, (size, axis) in needs.items():
        if mesh and size is not None and size % mesh.get(axis, 1):
            raise ValueError(
                f"The mesh's {axis} axis must divide {name}={size}. Received: {axis}:{mesh[axis]}"
            )
