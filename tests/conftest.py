"""What every test may ask for: the real data outside the repository, and the slow tests' switch."""

from __future__ import annotations

import os
import pathlib

import pytest

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:  # parallel workers, each at other addresses, would not agree on the list of tests
        raise pytest.UsageError(f"a test's id holds a memory address: {unstable[0]}")
    if config.getoption("--slow") or config.getoption("-m"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of real data: TFALIGN_DATA_DIR, else ../shared/data beside the repository."""
    named = os.environ.get("TFALIGN_DATA_DIR")
    folder = pathlib.Path(named) if named else _REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder} (set TFALIGN_DATA_DIR)")
    return folder
