"""Sequences cut over the devices of a mesh: the same numbers, and a part of the memory each."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("jax")

FOLDER = pathlib.Path(__file__).parent
MEMORY = """
import sys
from tfalign.models import GPTConfig
from tfalign.models.layouts import parse_mesh
from tfalign.planning.measured_step import measure
from tfalign.training.step_costs import Models, Work

config = GPTConfig(64, 64, 2, 4, max_positions=2048)
found = measure("sft", Models(config), Work(2, 0, 2048), parse_mesh(sys.argv[1]))
print(found.passing["update"])
"""

pytestmark = pytest.mark.slow  # processes of half a minute


def run(devices, *command):
    """What a process prints that sees so many devices."""
    process = subprocess.run(
        [sys.executable, *map(str, command)],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": str(FOLDER.parents[1]),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": "",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return process.stdout


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    file = tmp_path_factory.mktemp("one") / "one.npz"
    run(1, FOLDER / "context.py", file)
    return np.load(file)


@pytest.mark.parametrize("mesh", ["data:2,context:4", "fsdp:1,model:2,context:4"])
def test_attention_and_updates_are_those_of_one_device(tmp_path, one, mesh):
    run(8, FOLDER / "context.py", tmp_path / "several.npz", mesh)
    several = np.load(tmp_path / "several.npz")
    for name in one:
        np.testing.assert_allclose(several[name], one[name], 1e-5, 2e-5, err_msg=name)


def test_a_device_takes_a_part_of_the_memory():
    """Beside weights, moments and gradients, of a quarter of the columns less than a half."""
    whole, part = (int(run(n, "-c", MEMORY, f"data:2,context:{n // 2}")) for n in (2, 8))
    assert part < whole / 2
