"""Options from a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from tfalign.files import as_path


def read_file(file: str | os.PathLike) -> dict[str, Any]:
    """The options of a JSON or YAML file.

    Raises:
        ValueError: if it is neither, naming the file and the line.
    """
    path = as_path(file)
    try:
        text = path.read_text(encoding="utf-8")
        is_yaml = path.suffix in (".yaml", ".yml")
        values = None if is_yaml else json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}:{error.lineno}: not JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{file}: not JSON: {error}") from error
    if is_yaml:
        values = _yaml(path, text)
    if not isinstance(values, Mapping):
        raise ValueError(f"{file} must hold an object of options. Received: {values!r:.60}")
    return dict(values)


def _yaml(path, text):
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {error}") from error
