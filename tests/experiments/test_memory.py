"""``experiments.benchmarks.memory``: what it says is saved is saved in the program that XLA compiled."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.exhaustive
@pytest.mark.slow
def test_each_way_saves_what_it_is_for():
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.memory",
        "--preset=tiny",
        "--batch_size=8",
    ]
    process = subprocess.run(
        [*command, "--length=128", "--chunk=64"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    rows = {}
    for line in process.stdout.splitlines()[2:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        numbers = [re.findall(r"[\d,.]+", cell) for cell in cells]
        rows[name] = [float(found[0].replace(",", "")) for found in numbers]
    held, beside, _, operations = rows["as it is"]
    assert rows["remat"][1] < 0.8 * beside and rows["remat"][3] > operations
    assert rows["chunk"][1] < 0.9 * beside
    assert rows["first moment in bfloat16"][0] == pytest.approx(held * 5 / 6, rel=0.02)
    assert rows["Adafactor"][0] < 0.4 * held
    assert rows["remat, chunk, Adafactor"][2] < 0.5 * rows["as it is"][2]
