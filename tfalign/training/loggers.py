"""Keras callbacks that hand a run's metrics on to Weights & Biases or MLflow, where those are installed.

Their own callbacks count the batches of a ``fit``; these log every row under the run's own step, so that a
run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

import keras

from tfalign.files import RemotePath

_TAG = "tfalign.run_id"
_PARAMS_AT_ONCE = 100  # no more are taken in one call


class WandbLogger(keras.callbacks.Callback):
    """Logs to a Weights & Biases run, which it begins; WANDB_MODE=offline keeps it on this machine.

    Args:
        project: str.
        run_id: str, of any characters; a run that goes on has the same, and no other run has it.
        run_name: str, what people call the run; several may have one name.
        stage: str, put before the metrics' names.
        config: dict, what the run was begun with.
        directory: where the run's files go; for a bucket where the service puts them by itself.
    """

    def __init__(
        self,
        project: str,
        run_id: str,
        run_name: str,
        stage: str,
        config: Mapping[str, Any],
        directory: str | os.PathLike,
    ) -> None:
        super().__init__()
        import wandb

        self._stage = stage
        self._run = wandb.init(
            project=project,
            id=_plain(run_id),
            name=run_name,
            resume="allow",
            config=config,
            dir=None if isinstance(directory, RemotePath) else str(directory),
        )
        # steps of its own for every stage of a run
        self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        values = {f"{self._stage}/{name}": value for name, value in (logs or {}).items()}
        self._run.log({f"{self._stage}/step": batch} | values)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._run.finish()


class MlflowLogger(keras.callbacks.Callback):
    """Logs to an MLflow run, which it begins; MLFLOW_TRACKING_URI says where. The run is found again by its
    tag ``tfalign.run_id``.

    Args:
        project: str, MLflow's experiment.
        run_id, run_name, stage, config: see ``WandbLogger``.
        directory: not used; MLflow has a place of its own.
    """

    def __init__(
        self,
        project: str,
        run_id: str,
        run_name: str,
        stage: str,
        config: Mapping[str, Any],
        directory: str | os.PathLike,
    ) -> None:
        super().__init__()
        del directory
        import mlflow

        self._mlflow, self._stage = mlflow, stage
        mlflow.set_experiment(project)
        known = mlflow.search_runs(
            filter_string=f"tags.`{_TAG}` = '{_plain(run_id)}'", output_format="list"
        )
        if known:
            mlflow.start_run(run_id=known[0].info.run_id)
            return
        mlflow.start_run(run_name=run_name, tags={_TAG: _plain(run_id)})
        flat = {_allowed(name): str(value)[:500] for name, value in _flat(config).items()}
        for first in range(0, len(flat), _PARAMS_AT_ONCE):
            mlflow.log_params(dict(list(flat.items())[first : first + _PARAMS_AT_ONCE]))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        values = {_allowed(f"{self._stage}/{name}"): value for name, value in (logs or {}).items()}
        self._mlflow.log_metrics(values, step=batch)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._mlflow.end_run()


def _plain(run_id):
    """The identity in characters that every service takes, the same for the same.

    >>> _plain("0a1b"), _plain("it's")[:8]
    ('0a1b', '24ceef1c')
    """
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", run_id):
        return run_id
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def _allowed(name):
    """A name in the characters that MLflow takes; one for each other.

    >>> _allowed("ppo/KL (nats)")
    'ppo/KL _nats_'
    """
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", name)


LOGGERS = {"wandb": WandbLogger, "mlflow": MlflowLogger}


def make_logger(name: str, **where: Any) -> keras.callbacks.Callback:
    """The callback of that name.

    Raises:
        ValueError: if it is not known, or its package is not installed.
    """
    if name not in LOGGERS:
        raise ValueError(f"Metrics can go to {', '.join(LOGGERS)} too. Received: {name!r}")
    try:
        return LOGGERS[name](**where)
    except ImportError as error:
        raise ValueError(f"To log to {name} its package must be installed: {error}") from None


def _flat(config, prefix=""):
    """Nested dicts as one, names joined by dots.

    >>> _flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat = {}
    for name, value in config.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat
