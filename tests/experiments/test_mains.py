"""Every main starts: its ``--help`` prints what it is and its flags."""

import pathlib
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAINS = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in sorted((ROOT / "experiments").rglob("*.py"))
    if "__main__" in file.read_text(encoding="utf-8") and file.parent.name != "peers"
]


@pytest.mark.parametrize("main", MAINS)
def test_help(main, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [main, "--help"])
    path = ROOT / f"{main.replace('.', '/')}.py"
    runpy.run_path(
        str(path), run_name="__main__"
    )  # pytest's import hook refuses load_test as a module
    shown = capsys.readouterr().out
    assert "usage: " in shown and "--config" in shown
