"""The published styles of chat templates."""

from __future__ import annotations

import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "text" / "templates"


@pytest.fixture(scope="session")
def templates():
    """Name -> source."""
    return {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.jinja")}
