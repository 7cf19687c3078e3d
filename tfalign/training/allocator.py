"""Allocator settings: freed memory stays with the process.

XLA's programs allocate their temporaries afresh in every step. glibc hands freed memory of that
size back to the kernel and asks for it again, page by page: a fifth of a training's time on some
machines. These settings let it keep what it has.
"""

from __future__ import annotations

import ctypes

# malloc.h's names for mallopt, and values as of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_BLOCK = 2**30  # larger ones still come from the kernel and go back to it
_KEPT = 2**30
_AHEAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tells glibc to keep up to 1 GiB of freed memory, in blocks of up to 1 GiB, in every arena.

    Returns:
        Whether it was done; False where the C library has no ``mallopt`` or refuses.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    settings = (
        (_MMAP_THRESHOLD, _LARGEST_BLOCK),
        (_TRIM_THRESHOLD, _KEPT),
        (_TOP_PAD, _AHEAD),
    )
    return all([mallopt(name, value) == 1 for name, value in settings])
