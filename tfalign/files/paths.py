"""What a path is: one of this machine, or of a bucket."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tfalign.files.remote import SCHEMES, RemotePath

AnyPath = Path | RemotePath

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|(?:gs|s3):/")


def as_path(path: str | os.PathLike) -> AnyPath:
    """A path, wherever it lies.

    >>> as_path("runs/demo").parts
    ('runs', 'demo')
    >>> str(as_path("gs://bucket/runs") / "demo")
    'gs://bucket/runs/demo'

    Raises:
        ValueError: if it is of a file system that is not known, or has no bucket.
    """
    if isinstance(path, Path | RemotePath):
        return path
    remote = _SCHEME.match(os.fspath(path))
    if remote is None:
        return Path(path)
    if remote[1] not in SCHEMES:
        raise ValueError(
            "Only local paths and those of buckets are known: gs://BUCKET/... and s3://BUCKET/..."
            f" Received: {os.fspath(path)}"
        )
    return RemotePath(os.fspath(path))


def local_path(path: str | os.PathLike) -> Path:
    """A path of this machine's file system.

    >>> local_path("runs/demo").parts
    ('runs', 'demo')

    Raises:
        ValueError: if it is one of another system, such as ``gs://bucket/run``.
    """
    remote = _SCHEME.match(os.fspath(path))
    if remote:
        raise ValueError(
            f"Only local paths are possible here, not those of {remote[0]}; copy the files, or mount the"
            f" bucket. Received: {os.fspath(path)}"
        )
    return Path(path)
