"""The tensors of a directory: which file holds them, their shapes, and reading them in pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open

from tfalign import backend
from tfalign.files import AnyPath
from tfalign.models.huggingface.json_files import read_object
from tfalign.models.huggingface.kinds import shortened
from tfalign.models.huggingface.ranges import Held, read_header, read_part
from tfalign.models.huggingface.tables import Transform

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
_PIECE = 500_000  # numbers of a tensor read at a time


def list_tensors(directory: AnyPath) -> dict[str, Held]:
    """The tensors of model.safetensors or, where there is none, of the shards its index names.

    Raises:
        ValueError: if a file is absent or damaged, a tensor is not where the index has it, or stands in
            two files.
    """
    if (directory / WEIGHTS).exists() or not (directory / INDEX).exists():
        return list_file(directory / WEIGHTS)
    index = directory / INDEX
    listed = read_object(index).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(v, str) for v in listed.values()):
        raise ValueError(
            f"{index}: weight_map must be an object of file names. Received: {shortened(listed)}"
        )
    tensors: dict[str, Held] = {}
    for file in sorted(set(listed.values())):
        if file in ("", ".", "..") or set(file) & set("/\\"):
            raise ValueError(f"{directory / file} is missing.")
        held = list_file(directory / file)
        for name in (name for name, its_file in listed.items() if its_file == file):
            if name not in held:
                raise ValueError(f"{directory / file}: tensor {name!r} of {INDEX} is missing.")
        for name in held:
            if name in tensors:
                other = tensors[name].file.name
                raise ValueError(f"{directory / file}: tensor {name!r} stands in {other}, too.")
        tensors |= held
    return tensors


def list_file(file: AnyPath) -> dict[str, Held]:
    """The tensors of a safetensors file, of whose header they are read."""
    if not file.is_file():
        raise ValueError(f"{file} is {'not a regular file' if file.exists() else 'missing'}.")
    try:
        if isinstance(file, Path):
            with safe_open(file, framework="numpy"):  # its checks are more than ours
                pass
        return read_header(file)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error}.") from error
    except SafetensorError as error:
        raise ValueError(f"{file} is truncated or not a safetensors file: {error}.") from error


def pieces(held: Held, whole: bool = False) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows) of a tensor, a few megabytes at a time; all of it at once if ``whole``."""
    rows, size = (held.shape or (1,))[0], math.prod(held.shape)
    whole = whole or size <= _PIECE or len(held.shape) < 2
    step = rows if whole else max(1, _PIECE * rows // size)
    for start in range(0, rows, max(step, 1)):
        yield start, read_part(held, () if whole else (slice(start, min(start + step, rows)),))


def read_whole(held: Held) -> np.ndarray:
    (_, array) = next(pieces(held, whole=True), (0, np.zeros(held.shape)))
    return array


def are_equal(one: Held, other: Held) -> bool:
    """Whether two tensors hold the same numbers; they are read in pieces."""
    if one.shape != other.shape:
        return False
    return all(
        np.array_equal(np.asarray(a, "float64"), np.asarray(b, "float64"))
        for (_, a), (_, b) in zip(pieces(one), pieces(other))
    )


def read_into(variables: Sequence[keras.Variable], transform: Transform, held: Held) -> None:
    """Sets weights from a tensor, piece by piece; of weights that are sharded over devices each process reads what its
    own devices hold.

    Raises:
        ValueError: if a number is not finite.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    if transform.block is not None and all(map(_is_sharded, variables)):
        for number, variable in enumerate(variables):
            _read_shards(variable, number, shapes, transform, held)
        return
    for start, piece in pieces(held, whole=transform.axis is None):
        _check_finite(piece, held)
        for variable, array in zip(variables, transform.from_file(piece, shapes)):
            if hasattr(variable, "whole"):  # a binding.Part
                backend.assign_part(variable.whole, array[None], variable.number, axis=0)
            else:
                backend.assign_part(variable, array, start, transform.axis)


def _is_sharded(variable):
    return not hasattr(variable, "whole") and backend.is_sharded(variable)


def _read_shards(variable, number, shapes, transform, held):
    def read(block):
        piece = read_part(held, transform.block(number, block, shapes))
        _check_finite(piece, held)
        return piece.T if transform.is_turned else piece

    backend.assign_shards(variable, read)


def _check_finite(piece, held):
    if not np.isfinite(piece).all():
        raise ValueError(f"{held.file}: tensor {held.name!r} holds a number that is not finite.")
