"""Freed memory is kept where the C library can, and a C library that cannot is no error."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tfalign.training import allocator


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt of these values is glibc's")
def test_glibc_takes_the_settings():
    assert allocator.keep_freed_memory()


class _Refusing:
    asked = []

    def mallopt(self, name, value):
        self.asked.append((name, value))
        return 0


@pytest.mark.parametrize("library", [object(), _Refusing()])
def test_a_c_library_that_cannot_is_left_alone(library, monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: library)
    assert not allocator.keep_freed_memory()
    if isinstance(library, _Refusing):
        assert [name for name, _ in library.asked] == [-3, -1, -2]
        assert all(0 < value <= 2**30 for _, value in library.asked)


_BIG_BLOCKS = """
import resource, sys
from tfalign.training import allocator
if sys.argv[1] == "keep":
    allocator.keep_freed_memory()
size = 40 * 2**20
for _ in range(20):
    b"x" * size  # 40 MiB, which glibc asks the kernel for each time
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt of these values is glibc's")
def test_a_big_block_is_not_asked_for_again():
    left, kept = (
        int(subprocess.check_output([sys.executable, "-c", _BIG_BLOCKS, how], text=True))
        for how in ("leave", "keep")
    )
    assert kept < left / 2
