"""The same tests on Keras' JAX backend, in a process of their own."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest


@pytest.mark.slow  # 50 s: every operation outside of jit compiles by itself
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="already on the JAX backend")
def test_functional_on_jax():
    pytest.importorskip("jax")
    folder = pathlib.Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(folder)]
    process = subprocess.run(
        command,
        cwd=folder.parent.parent,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-2000:]
