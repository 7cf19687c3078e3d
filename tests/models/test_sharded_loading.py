"""Of sharded weights every process reads the bytes of its own shards, and no others."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.buckets import free_port
from tfalign.models import CausalLM, GPTConfig
from tfalign.models.huggingface import ranges
from tfalign.models.huggingface.ranges import read_header, read_part

SCRIPT = pathlib.Path(__file__).with_name("sharded_loading.py")
LLAMA = {"rotary_base": 10_000.0, "norm": "rms", "gated": True, "use_bias": False, "tied": False}


@pytest.fixture
def counted(monkeypatch):
    """Bytes of every read."""
    read, sizes = ranges.Ranges.read, []

    def count(self, start, end):
        sizes.append(end - start)
        return read(self, start, end)

    monkeypatch.setattr(ranges.Ranges, "read", count)
    return sizes


@pytest.mark.parametrize(
    "part",
    [(), (slice(3, 7),), (slice(None), slice(100, 200)), (slice(2, 4), slice(512, None))]
    + [(slice(5, 5),), (slice(0, 1), slice(0, 0))],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_block_is_read_and_no_more(tmp_path, counted, part, dtype):
    array = np.arange(16 * 1024).reshape(16, 1024).astype(dtype)
    save_file({"first": np.ones(3, "int64"), "it": array}, tmp_path / "a.safetensors")
    held = read_header(tmp_path / "a.safetensors")["it"]
    counted.clear()
    block = read_part(held, part)
    np.testing.assert_array_equal(block, array[part])
    assert block.dtype == array.dtype and sum(counted) == block.nbytes


def test_numbers_of_every_shape_are_read(tmp_path):
    arrays = {"scalar": np.float32(3), "vector": np.arange(5), "cube": np.ones((2, 3, 4), "bool")}
    save_file({key: np.asarray(value) for key, value in arrays.items()}, tmp_path / "a.safetensors")
    held = read_header(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(read_part(held[name]), array)
    np.testing.assert_array_equal(
        read_part(held["cube"], (slice(1), slice(1, 3))), arrays["cube"][:1, 1:3]
    )


def load(directory, mesh, devices, **environment):
    flags = f"--xla_force_host_platform_device_count={devices}"
    root = str(SCRIPT.parents[2])
    more = {"KERAS_BACKEND": "jax", "PYTHONPATH": root, "XLA_FLAGS": flags} | environment
    command = [sys.executable, str(SCRIPT), str(directory), mesh]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **more}, **pipes)


def said(process):
    printed, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(printed.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        GPTConfig(512, 512, 2, 4),
        pytest.param(GPTConfig(512, 512, 2, 4, **LLAMA), marks=pytest.mark.exhaustive),
    ],
    ids=["gpt2", "llama"],
)
def test_processes_share_what_is_read(tmp_path, config):
    pytest.importorskip("jax")
    CausalLM(config).save_pretrained(tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    alone = said(load(tmp_path, "fsdp:2,model:2", 4))
    assert alone["right"] and alone["read"] < 1.05 * size
    addresses = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    both = [
        load(
            tmp_path,
            "fsdp:2",
            1,
            KERAS_DISTRIBUTION_JOB_ADDRESSES=addresses,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(index),
        )
        for index in range(2)
    ]
    for one in map(said, both):
        assert one["right"] and one["read"] < 0.55 * size
