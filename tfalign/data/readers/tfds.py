"""TensorFlow datasets, and builders of a user's own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Iterator

from tfalign.data.prepared import prepared
from tfalign.data.readers.json_lines import Row
from tfalign.data.readers.values import shown
from tfalign.data.records import BadFileError, BadRecordError
from tfalign.files import UnreachableError, as_path
from tfalign.installed import needing_tensorflow

_VERSION = re.compile(r"([0-9]+|\*)(\.([0-9]+|\*)){2}(?=:|$)")
_OWN_BUILDERS = "tfalign.data"


def tfds_rows(address: str, data_dir: str | os.PathLike | None) -> Iterator[Row]:
    """Pairs of a place and the features of an example.

    Args:
        address: ``name[/config][:version][:split]``; the split is "train" where there is none.
        data_dir: where TensorFlow datasets are kept; None where they always are.

    Raises:
        ValueError: if there is no such dataset, version or split.
        BadFileError: if the dataset cannot be prepared or read.
    """
    name, version, split = parts(address)
    if data_dir is not None:
        data_dir = as_path(data_dir)
    with needing_tensorflow(f"tfds:{name}", "; a JSONL file of the same records does without"):
        import tensorflow_datasets as tfds  # seconds to import, and most sources do without

    dataset = _dataset(tfds, name, version, split, data_dir)
    number = 0
    try:
        for number, row in enumerate(tfds.as_numpy(dataset), start=1):
            where = f"tfds:{name}:{split}:{number}"
            if isinstance(row, dict):
                yield where, row
            else:
                yield where, BadRecordError(where, f"must be a dict. Received: {shown(row)}")
    except _tensorflow_error() as error:
        raise BadFileError(
            f"tfds:{name}:{split}", f"damaged after example {number}: {_first_line(error)}"
        ) from error


def parts(address: str) -> tuple[str, str | None, str]:
    """(name with configuration, version or None, split).

    >>> parts("a/b:1.0.0:test[:5]"), parts("a:1.0.0"), parts("a")
    (('a/b', '1.0.0', 'test[:5]'), ('a', '1.0.0', 'train'), ('a', None, 'train'))
    """
    name, _, rest = address.partition(":")
    version = _VERSION.match(rest)
    if version:
        rest = rest[version.end() + 1 :]
    return name, version and version[0], rest or "train"


def _dataset(tfds, name, version, split, data_dir):
    """The split, its examples in their order."""
    try:
        builder = prepared(
            lambda folder: _builder(tfds, name, version, folder),
            data_dir,
            lambda folder: {"download_config": _manual_files(tfds, folder)},
        )
    except (BadRecordError, UnreachableError):
        raise
    except (
        Exception
    ) as error:  # builders are anybody's code: whatever they raise, this is the place
        raise ValueError(
            f"tfds:{name} cannot be had from TensorFlow Datasets"
            f" ({type(error).__name__}: {_first_line(error)})."
        ) from error
    try:
        return builder.as_dataset(split=split, shuffle_files=False)
    except (ValueError, KeyError, AssertionError) as error:
        known = ", ".join(builder.info.splits) or "none"
        raise ValueError(
            f"tfds:{name}:{split}: {name} has the splits {known}. {_first_line(error)}"
        ) from None


def _first_line(error):
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _tensorflow_error():
    import tensorflow as tf

    return tf.errors.OpError


def _manual_files(tfds, data_dir):
    """Where files lie that were put there by hand: TFALIGN_DATA_DIR, or "manual" in ``data_dir``."""
    folder = os.environ.get("TFALIGN_DATA_DIR") or os.path.join(data_dir or "", "manual")
    return tfds.download.DownloadConfig(manual_dir=folder if os.path.isdir(folder) else None)


def _builder(tfds, name, version, data_dir):
    """The builder called ``name[/config]``, registered, or in the module of that name.

    A builder of this package, ``tfalign.data.<name>``, goes by its last name alone.
    """
    module, _, config = name.partition("/")
    folder = module if "." in module else f"{_OWN_BUILDERS}.{module}"
    if not _is_module(folder):
        spelled = f"{name}:{version}" if version else name
        return tfds.builder(spelled, data_dir=data_dir)
    short = folder.rpartition(".")[2]
    # Not registered: the catalogue may have a dataset of that name, and has once it looks for another.
    with tfds.core.registered.skip_registration():
        builders = importlib.import_module(f"{folder}.{short}_dataset_builder")
    return builders.Builder(config=config or None, data_dir=data_dir, version=version)


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):  # a package above it is not there; no name
        return False
