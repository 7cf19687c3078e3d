"""The directory of a run: config, versions, metrics; begun once, continued any number of times.

    runs/demo/
      config.json      what the run was begun with; a continuation must agree
      versions.json    interpreter, platform and packages
      identity.json    {"id": ...}, which services that log runs know this one by
      run.lock         the process that has the run now
      metrics.jsonl    one line a logged step: {"stage": "ppo", "step": 10, "time": ..., "kl": ...}
      samples.jsonl    one line a sample: {"stage": "ppo", "step": 10, "prompt": "...", "response": "..."}
      events/STAGE/    the same numbers for TensorBoard
      checkpoints/STAGE/
      plots/

This module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
import warnings
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from importlib import metadata
from typing import Any, TypeVar

from tfalign.files import AnyPath, RemotePath, as_path, remove, write_json_atomically
from tfalign.training.bucket_checkpoint import BucketCheckpointer
from tfalign.training.checkpoint import Checkpointer
from tfalign.training.metrics_log import METRICS, MetricsLog, NoLog, RunDirectoryError, StageLog
from tfalign.training.processes import ALONE, Processes
from tfalign.training.run_lock import LOCK_FILE, RunLock
from tfalign.training.samples_log import SAMPLES, SamplesLog

HARMLESS_KEYS = frozenset({"steps", "log_every", "save_every", "keep_last", "progress"})
"""How long a run goes on and how it is watched: the only things a continuation may change."""

PACKAGES = (
    "tfalign",
    "tensorflow",
    "keras",
    "numpy",
    "tensorflow-datasets",
    "tokenizers",
    "safetensors",
    "gymnasium",
    "tf-agents",
)
_CONFIG, _VERSIONS, _IDENTITY = "config.json", "versions.json", "identity.json"
_RECORDS = {_CONFIG, _VERSIONS, _IDENTITY, LOCK_FILE}
_ABSENT = "(not set)"


Part = TypeVar("Part", Checkpointer, MetricsLog, SamplesLog)
Log = TypeVar("Log", MetricsLog, SamplesLog)


class RunDirectory(AbstractContextManager):
    """A run in a directory, begun there or continued; no other process may have it.

    Nothing but the lock is written before the run has begun, which is when the first of its files is asked
    for: a mistake that is noticed until then leaves nothing behind. When the run is closed before
    anything was done, its directory is as it was.

    Args:
        path: the directory; made when absent.
        config: JSON-able and possibly nested; every choice that decides the run's result.
        harmless: last parts of the keys that a continuation may change; the newest value is kept.
        processes: Processes that save checkpoints together; the first has a RunDirectory, the others a
            FollowedRun.
        names: key -> the name of its flag, for messages; by default ``--key``.
        advice: last part of a key -> a sentence on what to do instead of changing it.

    Raises:
        RunDirectoryError: if the recorded config differs in a key that is not harmless.
        RunInUseError: if another process has the directory.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        config: Mapping[str, Any],
        harmless: Collection[str] = HARMLESS_KEYS,
        processes: Processes = ALONE,
        names: Callable[[str], str] = "--{}".format,
        advice: Mapping[str, str] | None = None,
    ) -> None:
        self.path = as_path(path)
        self.processes = processes
        self.config = json.loads(json.dumps(config))
        self._begun = False
        self._logs: weakref.WeakSet[StageLog] = weakref.WeakSet()
        self._lock = lock = RunLock(self.path)
        file = self.path / _CONFIG
        is_new = not file.exists()
        self.close = weakref.finalize(self, _close, self.path, lock, is_new, os.getpid())
        try:
            if not is_new:
                recorded = _read_json(file)
                _check_config(self.config, recorded, file, harmless, names, advice or {})
        except RunDirectoryError:
            self.close()
            raise

    def begin(self) -> None:
        """Records config, versions and identity, if that is not done yet."""
        if self._begun:
            return
        self._begun = True
        self.path.mkdir(parents=True, exist_ok=True)
        write_json_atomically(self.path / _CONFIG, self.config)
        if not (self.path / _IDENTITY).exists():
            write_json_atomically(self.path / _IDENTITY, {"id": uuid.uuid4().hex})
        self._record_versions()

    @property
    def id(self) -> str:
        """32 hexadecimal digits that no other run has, wherever its directory lies or is moved to."""
        self.begin()
        return _read_json(self.path / _IDENTITY)["id"]

    @property
    def plots(self) -> AnyPath:
        """Where the pictures go."""
        folder = self.file("plots")
        folder.mkdir(exist_ok=True)
        return folder

    def file(self, name: str) -> AnyPath:
        """The path of a file or folder that is about to be written: the run has begun."""
        self.begin()
        return self.path / name

    def checkpointer(self, stage: str, keep_last: int = 3) -> Checkpointer:
        """The checkpoints of one stage."""
        self.begin()
        folder = self.path / "checkpoints" / stage
        kind = BucketCheckpointer if isinstance(folder, RemotePath) else Checkpointer
        return self._keeps(kind(folder, keep_last, self.processes, self._settle))

    def metrics(self, stage: str, resume_step: int = 0) -> MetricsLog:
        """The log of one stage, which goes on after ``resume_step`` (0: from the start)."""
        self.begin()
        return self._logged(MetricsLog(self.path, stage, resume_step))

    def samples(self, stage: str, resume_step: int = 0) -> SamplesLog:
        """The log of one stage's sample texts, which goes on after ``resume_step``."""
        self.begin()
        return self._logged(SamplesLog(self.path, stage, resume_step))

    def _logged(self, log: Log) -> Log:
        self._logs.add(log)
        return self._keeps(log)

    def _settle(self) -> None:
        """Before a checkpoint: the lines up to it are in their files, and the directory still is this process's."""
        self._lock.check()
        for log in list(self._logs):
            log.sync()

    def _keeps(self, part: Part) -> Part:
        """What writes into the run's directory keeps it this process's."""
        part.run = self
        return part

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _record_versions(self) -> None:
        file = self.path / _VERSIONS
        versions = package_versions()
        if file.exists():
            changes = [
                f"{name} {old} -> {versions.get(name, _ABSENT)}"
                for name, old in _read_json(file).items()
                if old != versions.get(name, _ABSENT)
            ]
            if changes:
                warnings.warn(
                    f"{file}: this run continues with other versions than it began with:"
                    f" {', '.join(changes)}",
                    stacklevel=4,
                )
        write_json_atomically(file, versions)


def _close(path: AnyPath, lock: RunLock, is_new: bool, process: int) -> None:
    """Gives the directory back, and takes away what was recorded of a run in which nothing was done."""
    if os.getpid() != process:
        return
    if is_new and _nothing_done(path):
        for member in list(path.iterdir()):
            if member.name != LOCK_FILE:
                remove(member)
    lock.release()


def _nothing_done(path: AnyPath) -> bool:
    """Whether a run has neither a line of metrics or samples nor any file that it does not write at its beginning."""
    if not path.is_dir():
        return False
    for file in path.rglob("*"):
        relative = file.relative_to(path)
        if file.is_dir() or relative.parts[0] == "events" or str(relative) in _RECORDS:
            continue
        if str(relative) not in (METRICS, SAMPLES) or file.stat().st_size:
            return False
    return True


class FollowedRun(RunDirectory):
    """A run whose files another process writes, on a file system that both see; this one reads them, and
    adds its parts to checkpoints.

    Args:
        path: the directory.
        config: as ``RunDirectory``; the process that writes compares it with the recorded one.
        processes: as ``RunDirectory``.
    """

    def __init__(
        self, path: str | os.PathLike, config: Mapping[str, Any], processes: Processes
    ) -> None:
        self.path = as_path(path)
        self.processes = processes
        self.config = json.loads(json.dumps(config))
        self.close = lambda: None

    def _settle(self) -> None:
        """Nothing: the first process has the logs and the lock."""

    def begin(self) -> None:
        """Nothing: the first process records what there is."""

    def metrics(self, stage: str, resume_step: int = 0) -> AbstractContextManager:
        """A log that writes nothing."""
        return NoLog()

    def samples(self, stage: str, resume_step: int = 0) -> AbstractContextManager:
        """A log that writes nothing."""
        return NoLog()


def package_versions(packages: Collection[str] = PACKAGES) -> dict[str, str]:
    """Versions of the interpreter, the platform and those of ``packages`` that are installed.

    >>> package_versions(["no-such-package"]).keys()
    dict_keys(['python', 'platform'])
    """
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _check_config(
    config: Mapping[str, Any],
    recorded: Mapping[str, Any],
    file: AnyPath,
    harmless: Collection[str],
    names: Callable[[str], str],
    advice: Mapping[str, str],
) -> None:
    new, old = _flatten(config), _flatten(recorded)
    for key in old | new:
        last = key.rpartition(".")[2]
        if last in harmless:
            continue
        before, after = (flat.get(key, _ABSENT) for flat in (old, new))
        if before != after:
            instead = advice.get(last, "choose that one or another run directory.")
            raise RunDirectoryError(
                f"{file}: this run began with {names(key)}={before}, so it cannot continue with"
                f" another value; {instead} Received: {names(key)}={after}"
            )


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read_json(file: AnyPath) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except ValueError as error:
        raise RunDirectoryError(f"{file} is damaged: it is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise RunDirectoryError(f"{file} must hold an object. Received: {type(value).__name__}")
    return value
