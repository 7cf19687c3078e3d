"""Eight virtual devices are one: the same losses, weights and samples on every mesh."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("jax")

MESHES = {"data:8": 1.0, "data:2,model:4": 1 / 4, "fsdp:2,model:4": 1 / 8}
SCRIPT = pathlib.Path(__file__).with_name("meshes.py")

pytestmark = pytest.mark.slow  # four processes, half a minute each


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What ``meshes.py`` says on one device and on each mesh."""
    folder = tmp_path_factory.mktemp("meshes")
    root = str(SCRIPT.parents[2])
    found = {}
    for number, mesh in enumerate(["", *MESHES]):
        devices = f"--xla_force_host_platform_device_count={8 if mesh else 1}"
        file = folder / f"{number}.npz"
        process = subprocess.run(
            [sys.executable, str(SCRIPT), str(file), mesh],
            env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": root, "XLA_FLAGS": devices},
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-4000:]
        found[mesh] = dict(np.load(file))
    return found


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("kind", ["supervised", "preferences", "alignment"])
def test_a_mesh_is_one_device(results, mesh, kind):
    one, several = results[""], results[mesh]
    assert one.keys() == several.keys()
    for name in one:
        if name.startswith(kind):
            # 1e-3: a ratio's distance from 1 is rounding alone
            atol = 1e-3 if name.endswith("max_log_ratio") else 1e-5
            np.testing.assert_allclose(several[name], one[name], 1e-5, atol, err_msg=name)


@pytest.mark.parametrize("mesh", ["", *MESHES])
def test_a_row_that_overflows_is_as_if_its_batch_had_not_been_there(results, mesh):
    assert not results[mesh]["poisoned/differ"]
    assert results[mesh]["poisoned/skipped"] == 1
    assert results[mesh]["poisoned/cut"] < MESHES.get(mesh, 1) + 0.02


@pytest.mark.parametrize("mesh", MESHES)
def test_a_device_holds_its_share_of_the_weights(results, mesh):
    # normalisations' scales are held whole
    assert MESHES[mesh] <= results[mesh]["cut"] < MESHES[mesh] + 0.02


def test_no_tensorflow(results):
    assert not any(found["tensorflow_imported"] for found in results.values())
