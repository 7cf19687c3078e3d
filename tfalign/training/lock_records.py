"""Who has a run: what its lock file says, and whether that process is still there.

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tfalign.files import AnyPath


class RunInUseError(ValueError):
    """Another process has the run's directory."""


def own_record() -> dict[str, Any]:
    """This process."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": _started(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def read_record(file: AnyPath) -> dict[str, Any]:
    """What a lock file says; {} where there is none, or nobody has written it yet."""
    try:
        record = json.loads(file.read_bytes())
    except (FileNotFoundError, PermissionError, IsADirectoryError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("pid"), int) else {}


def refusal(file: AnyPath, record: dict[str, Any]) -> RunInUseError:
    """What another process is told."""
    holder = "another process"
    if record:
        holder = f"process {record['pid']} on {record.get('host')} since {record.get('since')}"
    return RunInUseError(
        f"{file.parent} is in use by {holder}; wait for its end, end it, or choose another run"
        f" directory (if it is surely gone, remove {file})."
    )


def is_gone(record: dict[str, Any]) -> bool:
    """Whether a holder is known to be gone: of another host nothing is known."""
    if record.get("host") != socket.gethostname() or os.name == "nt":
        return False
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:  # there is one, of another user
        pass
    return record.get("started") != _started(record["pid"])


def _started(pid: int) -> str:
    """When a process started, so that a later one of its number is another; "" where that is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        status = Path(f"/proc/{pid}/stat").read_text()
        return f"{boot} {status.rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        pass
    try:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
