"""Programs that XLA has compiled, on disk, so that the next start of a run reads them.

TensorFlow and JAX both have such a cache; this module switches it on, and keeps it small and whole. A program is
read again only by the versions, on the kind of processor and with the XLA flags it was compiled with: each
combination has a folder of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tfalign.files import local_path

MOST_BYTES = 2 * 2**30
_LEAST_SECONDS = "0.2"  # JAX keeps programs that took at least so long to compile
_HOUR = 3600.0
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types of protocol buffers


def default_folder() -> Path:
    """``tfalign/programs`` in the user's cache directory: $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tfalign/programs"


def keep_programs(folder: str | os.PathLike | None = None, most_bytes: int = MOST_BYTES) -> Path:
    """Has both backends keep the programs they compile and read those they find.

    To be called before TensorFlow or JAX is imported. What $TF_XLA_FLAGS or $JAX_COMPILATION_CACHE_DIR say already
    stays. TensorFlow keeps programs for the CPU, JAX for all devices.

    Args:
        folder: path; ``default_folder()`` where None.
        most_bytes: int, what the folder may hold; of what is more, the programs that were not used
            for longest are deleted.

    Returns:
        Path, where this process's programs are.

    Raises:
        OSError: if the folder cannot be written to, or its disk has not that much room left: TensorFlow ends a
            training that cannot write a program.

    >>> import os, tempfile
    >>> tempfile.gettempdir() in str(keep_programs(tempfile.mkdtemp()))
    True
    """
    folder = default_folder() if folder is None else local_path(folder).absolute()
    own = folder / _kind_of_program()
    own.mkdir(parents=True, exist_ok=True)
    _delete(_superfluous(folder, most_bytes))
    _check_room(own, most_bytes)
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" not in flags:
        os.environ["TF_XLA_FLAGS"] = (
            f"{flags} --tf_xla_persistent_cache_directory={own}"
            " --tf_xla_persistent_cache_device_types=CPU"
        ).strip()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(own))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _LEAST_SECONDS)
    return own


def _kind_of_program():
    """A name for all that a compiled program depends on beside what it computes."""
    parts = [platform.machine(), _processor_features(), os.environ.get("XLA_FLAGS", "")]
    for package in ("tensorflow", "jaxlib", "keras"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            parts.append(f"{package} {metadata.version(package)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _processor_features():
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:  # Linux
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.processor()


def _superfluous(folder, most_bytes) -> Iterator[Path]:
    """Entries that are broken or half-written, and the least lately used beyond the bound."""
    found = []
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process deletes, too
            state = file.stat()
            if not file.is_file():
                continue
            used = max(state.st_atime, state.st_mtime)
            left_by_a_kill = file.suffix == ".tmp" and time.time() - used > _HOUR
            if left_by_a_kill or (file.suffix == ".pb" and not is_whole(file)):
                yield file
            else:
                found.append((used, state.st_size, file))
    size = 0
    for _, bytes_of_file, file in sorted(found, reverse=True):
        size += bytes_of_file
        if size > most_bytes:
            yield file


def _delete(files):
    for file in list(files):
        with contextlib.suppress(OSError):
            file.unlink()


def _check_room(folder, most_bytes):
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"Compiled programs cannot be kept there. Received: {folder}")
    free = shutil.disk_usage(folder).free
    if free < most_bytes:
        raise OSError(
            f"Compiled programs may take {most_bytes:,} bytes, and the disk has {free:,} left. "
            f"Received: {folder}"
        )


def is_whole(file: str | os.PathLike) -> bool:
    """Whether a file is a protocol buffer with something in it, the last field ending where the file ends.

    A file that lost its end when the power went is not; TensorFlow would end a training over it.
    """
    with open(file, "rb") as stream, contextlib.suppress(EOFError):
        size = os.fstat(stream.fileno()).st_size
        while stream.tell() < size:
            kind = _varint(stream) & 7
            if kind == _VARINT:
                _varint(stream)
            elif kind in (_LENGTH, _EIGHT_BYTES, _FOUR_BYTES):
                steps = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind)
                stream.seek(_varint(stream) if steps is None else steps, os.SEEK_CUR)
            else:
                return False
        return 0 < size == stream.tell()
    return False


def _varint(stream):
    """The next number, seven bits a byte, the lowest first."""
    value = shift = 0
    while byte := stream.read(1):
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
        shift += 7
    raise EOFError
