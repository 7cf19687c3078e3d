"""The terms in which a family of models is described, and pieces of such tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

REQUIRED = object()

Block = tuple[slice, ...]  # a part of an array: a slice an axis, without steps


class Transform(NamedTuple):
    """How the weights of a row and the tensor in the file follow from each other."""

    to_file: Callable[[list[np.ndarray]], np.ndarray]
    from_file: Callable[[np.ndarray, list[tuple[int, ...]]], list[np.ndarray]]
    file_shape: Callable[[list[tuple[int, ...]]], tuple[int, ...]]
    axis: int | None  # of the weights that the tensor's rows lie on, where it may be read in pieces
    # (number of a weight, block of it, shapes) -> the block of the tensor, where every block is one
    block: Callable[[int, Block, list[tuple[int, ...]]], Block] | None = None
    is_turned: bool = False  # whether the tensor's block is the transpose of the weight's


def _join(arrays):
    return np.concatenate(arrays, axis=-1)


def _part(tensor, shapes):
    return np.split(tensor, np.cumsum([shape[-1] for shape in shapes])[:-1], axis=-1)


def _joined_block(number, block, shapes):
    """What of weights side by side is a block of one of them."""
    before = sum(shape[-1] for shape in shapes[:number])
    start, stop, _ = block[-1].indices(shapes[number][-1])
    return (*block[:-1], slice(before + start, before + stop))


SAME = Transform(lambda a: a[0], lambda t, _: [t], lambda s: s[0], 0, lambda _, block, __: block)
TRANSPOSED = Transform(
    lambda a: a[0].T,
    lambda t, _: [t.T],
    lambda s: s[0][::-1],
    axis=1,
    block=lambda _, block, __: block[::-1],
    is_turned=True,
)
JOINED = Transform(
    _join,
    _part,
    lambda s: (*s[0][:-1], sum(shape[-1] for shape in s)),
    axis=0,
    block=_joined_block,
)
SIDE_BY_SIDE = Transform(  # Linears whose outputs stand one behind the other
    lambda a: np.concatenate([kernel.T for kernel in a]),
    lambda t, shapes: _part(t.T, shapes),
    lambda s: (sum(shape[1] for shape in s), s[0][0]),
    axis=None,
    block=lambda number, block, shapes: _joined_block(number, block, shapes)[::-1],
    is_turned=True,
)


class Row(NamedTuple):
    """A tensor of the file and the weights it holds.

    A row whose weights a model does not have, such as the biases of one without, is left out.
    """

    paths: tuple[str, ...]  # attributes from the trunk (or the model) to its weights
    name: str  # in the file
    transform: Transform = SAME
    optional: bool = False  # a file may lack it; the weights then stay as initialised
    part: int | None = None  # of the weights' first axis, where a tensor holds but one: an expert's


class Field(NamedTuple):
    """A setting of a tfalign configuration and its key in config.json."""

    ours: str
    theirs: str
    default: Any = REQUIRED  # what transformers takes where the key is absent
    names: Mapping[str, str] | None = None  # their spelling -> ours; the first of equals is written
    null: bool = False  # whether null is a value
    also: tuple[str, ...] = ()  # other keys of the same setting, which must not disagree
    written: bool = True  # also where it has its default; transformers has no such key otherwise


class Dropped(NamedTuple):
    """A tensor that files hold and models do not: it may be left out where it says nothing new."""

    pattern: str  # of its name
    what: str  # it must be, for the message
    copy_of: str | None = None  # a row's name, or
    equals: Callable[[np.ndarray, Any], bool] | None = None  # of the tensor and the configuration
    # with neither, it belongs to a head that the architecture does not have: a warning names it


class Family(NamedTuple):
    """Backbones that share a configuration and tensor names, such as GPT-2's."""

    model_type: str
    config_class: type
    fields: tuple[Field, ...]
    fixed: dict[str, Any]  # setting -> the only value it can have, or a function of the config
    supported: dict[str, Any]  # key of config.json -> the only value tfalign computes
    rows: Callable[[Any], Sequence[Row]]  # of a configuration, on the trunk
    prefix: str  # of the trunk's tensors in a model with a head; files have them with or without
    shapes: Callable[[Any], Mapping]  # configuration -> shapes of weights by path, see ``shapes``
    uses: tuple[str, ...] = ()  # further keys that ``read`` looks at
    harmless: tuple[str, ...] = ()  # keys that say nothing about what is computed
    only: Mapping[str, Any] = {}  # key -> the value at which it is harmless; it is not written
    dropped: tuple[Dropped, ...] = ()
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
    uses: tuple[str, ...] = ()  # keys that ``read_head`` and ``applies`` look at
    # (configuration, ``read_head``'s) -> shapes of the head's weights; others are seen when built
    shapes: Callable[[Any, dict], Mapping] = lambda config, head: {}
    generates: bool = False  # whether generation_config.json belongs to it


def linear(path: str, name: str) -> tuple[Row, ...]:
    """A torch Linear keeps its weight [outputs, inputs]."""
    return (
        Row((f"{path}.kernel",), f"{name}.weight", TRANSPOSED),
        Row((f"{path}.bias",), f"{name}.bias"),
    )


def conv1d(paths: Sequence[str], name: str) -> tuple[Row, ...]:
    """GPT-2's Conv1D keeps [inputs, outputs], several projections side by side."""
    return (
        Row(tuple(f"{path}.kernel" for path in paths), f"{name}.weight", JOINED),
        Row(tuple(f"{path}.bias" for path in paths), f"{name}.bias", JOINED),
    )


def expert(path: str, name: str, number: int) -> Row:
    """A torch Linear of one expert; the weights of all are one array [E, inputs, outputs]."""
    return Row((path,), f"{name}.weight", TRANSPOSED._replace(axis=None), part=number)


def optional(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows that a file may lack; the weights then stay as initialised."""
    return tuple(row._replace(optional=True) for row in rows)


def layer_norm(path: str, name: str) -> tuple[Row, ...]:
    return Row((f"{path}.gamma",), f"{name}.weight"), Row((f"{path}.beta",), f"{name}.bias")


def table(
    rows: Sequence[Row],
    block_rows: Sequence[Row],
    block_name: str,
    of_experts: Callable[[int], Sequence[Row]] = lambda number: (),
) -> Callable[[Any], tuple[Row, ...]]:
    """A function of the configuration: ``rows``, and those of every block, its number put into the
    name; ``of_experts`` gives those of an expert in a block."""

    def all_rows(config):
        experts = range(getattr(config, "num_experts", None) or 0)
        of_block = (*block_rows, *(row for number in experts for row in of_experts(number)))
        of_blocks = (
            row._replace(
                paths=tuple(f"blocks.{index}.{path}" for path in row.paths),
                name=f"{block_name.format(index)}.{row.name}",
            )
            for index in range(config.num_layers)
            for row in of_block
        )
        return (*rows, *of_blocks)

    return all_rows


ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
