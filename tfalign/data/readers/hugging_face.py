"""Data sets of Hugging Face's ``datasets`` library: of the hub, of a folder of files, and what ``save_to_disk`` wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tfalign.data.readers.json_lines import Row
from tfalign.data.records import BadFileError
from tfalign.files import as_path, local_copy

HUB = "hf://"
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"


def is_saved(path: str | os.PathLike) -> bool:
    """Whether ``save_to_disk`` wrote a folder."""
    return any((as_path(path) / name).is_file() for name in (_SAVED, _SAVED_SPLITS))


def saved_rows(path: str | os.PathLike) -> Iterator[Row]:
    """The rows of a folder that ``Dataset.save_to_disk`` wrote; they are mapped, not read into memory, of a bucket from a
    copy on this machine.

    Raises:
        BadFileError: if the folder holds several splits, or is damaged.
        ValueError: without the library.
    """
    library, path = _datasets(), as_path(path)
    if (path / _SAVED_SPLITS).is_file():
        splits = sorted(one.name for one in path.iterdir() if one.is_dir())
        raise BadFileError(
            str(path),
            "the folder holds splits, each a folder of its own, of which one is read, "
            f"{path}/{(splits or ['train'])[0]}; TRAIN::TEST names two. Received: {', '.join(splits)}",
        )
    with local_copy(path) as folder:
        yield from _rows(str(path), _had(path, library.load_from_disk, str(folder)))


def hub_rows(address: str) -> Iterator[Row]:
    """The rows of a split, as they come from the hub.

    Args:
        address: ``org/name[/config][:split]``, or the path of a folder of data files, absolute or with a dot in front, and
            ``[:split]``; the split is "train" where there is none.

    Raises:
        ValueError: if there is no such data set or split; without the library.
    """
    name, config, split = parts(address)
    load = _datasets().load_dataset
    where = f"{HUB}{address}"
    return _rows(where, _had(where, load, name, config, split=split, streaming=True))


def parts(address: str) -> tuple[str, str | None, str]:
    """(name, configuration or None, split).

    >>> parts("org/name/main:test"), parts("name"), parts("./folder/a:validation")
    (('org/name', 'main', 'test'), ('name', None, 'train'), ('./folder/a', None, 'validation'))
    """
    path, _, split = address.partition(":")
    if path.startswith(("/", ".")):
        return path, None, split or "train"
    org, name, *config = [*path.split("/", 2), ""][:3] if "/" in path else (path, "")
    return "/".join(filter(None, (org, name))), "".join(config) or None, split or "train"


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"Hugging Face data sets need pip install tfalign[datasets]: {error}"
        ) from None
    return datasets


def _had(where, load, *names, **more):
    try:
        return load(*names, **more)
    except Exception as error:  # whatever the library and the hub raise, this is the place
        said = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"{where} cannot be had from Hugging Face's datasets ({type(error).__name__}: {said})"
        ) from None


def _rows(where, dataset):
    number = 0
    try:
        for number, row in enumerate(dataset, start=1):
            yield f"{where}:{number}", row
    except (OSError, ValueError) as error:
        raise BadFileError(where, f"damaged after row {number}: {error}") from error
