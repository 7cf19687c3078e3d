"""JSON files from elsewhere: whatever they hold ends in a value or in one error message."""

from __future__ import annotations

import json
from typing import Any

from tfalign.files import AnyPath

_MOST_BYTES = 64 * 2**20  # an index of 100,000 tensors has about 10 MB


def read_object(file: AnyPath) -> dict[str, Any]:
    """The object a JSON file holds.

    Raises:
        ValueError: if the file is absent, no regular file (a FIFO would be waited for), too large, not
            JSON, no object, or holds a key twice with different values.
    """
    try:
        if not file.is_file():
            there = "it is not a regular file" if file.exists() else "there is no such file"
            raise ValueError(f"{file} cannot be read: {there}.")
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(
                f"{file} must have at most {_MOST_BYTES} bytes. Received: {file.stat().st_size}"
            )
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        value = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} must hold a JSON object. Received: {type(value).__name__}")
    return value


def _object(pairs):
    """A dict of the pairs; a reader that took the last of two would differ from one that took the first."""
    value = {}
    for key, item in pairs:
        if key in value and value[key] != item:
            raise ValueError(f"the key {key!r} stands twice, with different values")
        value[key] = item
    return value
