"""Compiled programs are read by the next process, and the folder stays small, whole and apart by processor."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tfalign import program_cache

KEPT = ("TF_XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in KEPT:
        monkeypatch.setenv(name, "")  # so that what the module sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_both_backends_are_told_once():
    own = program_cache.keep_programs()
    assert own.parent == program_cache.default_folder()
    told = os.environ["TF_XLA_FLAGS"]
    assert f"--tf_xla_persistent_cache_directory={own}" in told
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(own)
    assert program_cache.keep_programs() == own and os.environ["TF_XLA_FLAGS"] == told


def test_what_the_user_set_stays(monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/there")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/there")
    program_cache.keep_programs()
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_persistent_cache_directory=/there"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/there"


def test_other_flags_and_processors_have_folders_of_their_own(monkeypatch):
    first = program_cache.keep_programs()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    second = program_cache.keep_programs()
    monkeypatch.setattr(program_cache, "_processor_features", lambda: "flags: fpu")
    assert len({first, second, program_cache.keep_programs()}) == 3


def _entry(folder, name, size, age):
    """A file of a field of that many bytes, last used so many seconds ago."""
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    file = folder / name
    file.write_bytes(b"\x0a" + length + b"x" * size)
    os.utime(file, (time.time() - age,) * 2)
    return file


def test_of_too_much_the_least_lately_used_goes(tmp_path):
    own = program_cache.keep_programs(tmp_path)
    old, middle, new = (_entry(own, f"{age}.pb", 100_000, age) for age in (300, 200, 100))
    elsewhere = _entry(tmp_path, "50-cache", 100_000, 50)
    program_cache.keep_programs(tmp_path, most_bytes=300_000)
    assert [x.exists() for x in (old, middle, new, elsewhere)] == [False, False, True, True]


@pytest.mark.parametrize("left", [0, 1, 3, 50_000, 100_003])
def test_a_program_that_lost_its_end_goes(tmp_path, left):
    own = program_cache.keep_programs(tmp_path)
    whole, broken = (_entry(own, name, 100_000, 10) for name in ("whole.pb", "broken.pb"))
    os.truncate(broken, left)
    program_cache.keep_programs(tmp_path)
    assert whole.exists() and not broken.exists()


def test_what_is_being_written_stays_and_what_a_kill_left_goes(tmp_path):
    own = program_cache.keep_programs(tmp_path)
    writing, left = (_entry(own, f"{age}.tmp", 1000, age) for age in (10, 10_000))
    program_cache.keep_programs(tmp_path)
    assert writing.exists() and not left.exists()


def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(OSError, match=r"may take .* bytes, and the disk has .* left\. Received: "):
        program_cache.keep_programs(tmp_path, most_bytes=2**60)


_PROGRAM = """
import os, sys
from tfalign import program_cache
folder = program_cache.keep_programs(sys.argv[1])
import numpy as np
from tfalign import backend
from keras import ops
def work(x):
    for _ in range(20):
        x = ops.tanh(ops.matmul(x, x)) + ops.softmax(x)
    return x
print(np.asarray(backend.jit(work)(np.ones((8, 8), "float32"))).sum())
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_next_process_reads_what_the_first_compiled(tmp_path, backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run():
        out = subprocess.check_output(
            [sys.executable, "-c", _PROGRAM, str(tmp_path)], text=True, env=environment
        )
        entries = (x for x in tmp_path.rglob("*") if x.is_file() and "atime" not in x.name)
        return out, {(x, x.stat().st_mtime_ns) for x in entries}

    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    first, second = run(), run()
    assert first == second
    assert any(file.stat().st_size for file, _ in first[1])
