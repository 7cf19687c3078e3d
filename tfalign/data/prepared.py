"""TensorFlow datasets, prepared where they are kept: in a folder, or in a bucket by way of one."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfalign.files import RemotePath, as_path, download, is_whole, upload

_MANUAL = "manual"  # where files lie that were put there by hand


def prepared(
    make_builder: Callable[[str | None], Any],
    data_dir: str | os.PathLike | None,
    settings: Callable[[str | None], dict[str, Any]] = lambda folder: {},
) -> Any:
    """A builder whose dataset is there; it is built on first use.

    TensorFlow Datasets writes a dataset into a folder of another name and renames that when it is complete, so a
    build that was killed is not taken for a dataset. In a bucket a dataset is whole as ``files.is_whole`` has it.

    Args:
        make_builder: the folder of prepared datasets, or None -> tfds.core.DatasetBuilder.
        data_dir: folder for prepared datasets, made where absent; None for the library's own. Of a bucket's this
            process keeps a copy until it ends.
        settings: the folder -> arguments of ``download_and_prepare``.
    """
    place = None if data_dir is None else as_path(data_dir)
    if not isinstance(place, RemotePath):
        folder = None if place is None else str(place.expanduser())
        builder = make_builder(folder)
        builder.download_and_prepare(**settings(folder))
        return builder
    folder = Path(_copy_of(os.fspath(place)).name)
    if not (folder / _MANUAL).exists() and (place / _MANUAL).is_dir():
        download(place / _MANUAL, folder / _MANUAL)
    own = Path(make_builder(str(folder)).data_dir)
    kept = place / own.relative_to(folder).as_posix()
    was_there = is_whole(kept)
    if was_there and not own.exists():
        download(kept, own)
    builder = make_builder(str(folder))
    builder.download_and_prepare(**settings(str(folder)))
    if not was_there:
        upload(own, kept)
    return builder


@functools.cache
def _copy_of(place: str) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="tfalign-data-")
