"""Checkpoints in a bucket, where nothing can be renamed: the record, written last, makes one whole.

    checkpoints/STAGE/step-00000010/
      arrays.5f3a9c01.safetensors
      state.json                     as on disk; it names the arrays' files

Every save gives its files a name of their own. A checkpoint of the same step is therefore replaced in one moment,
when ``state.json`` is put; files that no record names are the leftovers of a killed save, and the next one removes
them.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfalign.files import RemotePath, remove, upload
from tfalign.training.checkpoint import STEP_NAME, Checkpointer
from tfalign.training.checkpoint_files import (
    STATE,
    file_name,
    record_bytes,
    size_and_crc32,
    write_arrays,
)

_SUFFIX = ".safetensors"


class BucketCheckpointer(Checkpointer):
    """Saves and restores numbered checkpoints in a folder of a bucket.

    >>> import numpy as np
    >>> checkpoints = BucketCheckpointer("memory://bucket/run/checkpoints/sft")
    >>> _ = checkpoints.save(10, {"kernel": np.ones(2)}, {"epoch": 1})
    >>> checkpoints.steps(), checkpoints.restore().state
    ([10], {'epoch': 1})

    Args: see ``Checkpointer``.
    """

    def _writing(self, final: RemotePath) -> RemotePath:
        return final

    def _begin(self, writing: RemotePath) -> None:
        """Nothing: leftovers do not matter, and a folder needs not be made."""

    def _names(self, count: int) -> list[str]:
        token = self.processes.gather(secrets.randbits(31))[0]
        names = [file_name(number, count) for number in range(count)]
        return [f"{name.removesuffix(_SUFFIX)}.{token:08x}{_SUFFIX}" for name in names]

    def _write_file(self, file: RemotePath, arrays: Mapping[str, Any]) -> tuple[int, int]:
        with tempfile.TemporaryDirectory(prefix="tfalign-") as folder:
            local = Path(folder) / file.name
            write_arrays(local, arrays)
            upload(local, file)
            return size_and_crc32(local)

    def _give_up(self, writing: RemotePath) -> None:
        self._prune()

    def _finish(self, writing: RemotePath, final: RemotePath, record: Mapping[str, Any]) -> None:
        self._before()
        (final / STATE).write_bytes(record_bytes(final / STATE, record))
        self._prune()

    def _folders(self) -> dict[int, RemotePath]:
        """Step -> folder of what has a record."""
        return {
            int(match[1]): path.parent
            for path in self.directory.rglob(STATE)
            if (match := STEP_NAME.fullmatch(path.parent.name))
        }

    def _prune(self) -> None:
        self._remove(self.steps()[: -self.keep_last])
        named = {
            folder / entry["file"]
            for folder in self._folders().values()
            for entry in json.loads((folder / STATE).read_bytes())["arrays"]
        }
        for path in self.directory.rglob():
            if path.name != STATE and path not in named:
                path.unlink(missing_ok=True)

    def _remove(self, steps: Sequence[int]) -> None:
        """The record first, so that no half of a checkpoint is taken for one."""
        folders = self._folders()
        for step in steps:
            (folders[step] / STATE).unlink(missing_ok=True)
            remove(folders[step])
