"""``experiments.studies.staleness``: who is compared, and the picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.studies.staleness import StalenessConfig, contestants, report


def test_responses_are_as_old_as_the_picture_says():
    """A bound alone says nothing of the age: every line but ``align`` asks for that age itself."""
    found = contestants(StalenessConfig(staleness=(0, 4), actors=3))
    lines = [(line, age) for line in ("corrected", "not corrected") for age in ("0", "4")]
    assert set(found) == {("align", "0"), *lines}
    assert found["align", "0"].experiment == "align"
    for line, age in lines:
        command = found[line, age].command(Path("demo"), Path("run"), "data", "0")
        assert "experiments.align_distributed" in command
        assert {f"--staleness={age}", "--fixed_age=true", "--actors=3"} <= set(command)
        assert f"--corrected={str(line == 'corrected').lower()}" in command


def test_the_report_has_every_number(tmp_path):
    results = {"align": {"0": [1.5, 1.7]}, "corrected": {"0": [1.5, 1.5], "4": [1.25, 1.75]}}
    report(tmp_path, results)
    assert json.loads((tmp_path / "report.json").read_text()) == results
    table = (tmp_path / "report.md").read_text()
    assert "| corrected | 1.5 ± 0 | 1.5 ± 0.354 |" in table
    assert (tmp_path / "plots" / "staleness.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"staleness": (1, -2)}, "--staleness must be at least 0. Received: staleness=-2"),
        ({"seeds": ("a",)}, "seeds must be of type int. Received: 'a'"),
    ],
)
def test_what_is_no_number_is_told(choice, message):
    with pytest.raises(ValueError, match=message):
        StalenessConfig(**choice)
