"""What the builders of public datasets share: where their files are, and how they describe themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfalign.data.readers import is_junk

MANUAL = """
Put {files} into the folder of manual files (--data_dir's folder "manual", or TFALIGN_DATA_DIR), under
this name or in a folder of any name there. Without them they are downloaded, and their checksums compared.
"""


def instructions(urls: Iterable[str]) -> str:
    """What a builder says about its files: MANUAL_DOWNLOAD_INSTRUCTIONS of TensorFlow Datasets."""
    return MANUAL.format(files=", ".join(urls))


def locate(dl_manager: Any, urls: Mapping[str, str], some: bool = False) -> dict[str, Path]:
    """Paths of a dataset's files.

    Args:
        dl_manager: TensorFlow Datasets' DownloadManager.
        urls: mapping of a file's name to the address it is published at.
        some: bool, whether a folder of manual files needs to have some of them only.

    Returns:
        dict of a file's name to its path.

    Raises:
        ValueError: if a folder has some of the files and must have all.
    """
    folder = _manual_folder(dl_manager)
    here = {name: _find(folder, name) for name in urls} if folder else {}
    found = {name: path for name, path in here.items() if path is not None}
    if found and not some and len(found) < len(urls):
        missing = sorted(set(urls) - set(found))
        raise ValueError(f"{folder} has {len(found)} of {len(urls)} files and lacks {missing[0]}")
    return found or {name: Path(path) for name, path in dl_manager.download(dict(urls)).items()}


def _manual_folder(dl_manager):
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError:  # there is none
        return None


def _find(folder, name):
    return next(
        (
            path
            for path in (folder / name, *sorted(folder.glob(f"*/{name}")))
            if path.is_file() and not is_junk(path.relative_to(folder).as_posix())
        ),
        None,
    )


def texts_info(builder: Any, fields: Iterable[str], homepage: str, license: str) -> Any:
    """DatasetInfo of a dataset whose features are texts.

    Args:
        builder: tfds.core.DatasetBuilder.
        fields: names of the features.
        homepage, license: str.
    """
    import tensorflow_datasets as tfds  # seconds to import

    return tfds.core.DatasetInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict(dict.fromkeys(fields, tfds.features.Text())),
        homepage=homepage,
        license=license,
        disable_shuffling=True,
    )
