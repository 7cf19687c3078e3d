"""Keras callbacks that hand a run's metrics on to Weights & Biases or MLflow, where those are installed.

Their own callbacks count the batches of a ``fit``; these log every row under the run's own step, so that a
run that was killed goes on where it was.
"""

from __future__ import annotations

import keras


class WandbLogger(keras.callbacks.Callback):
    """Logs to a Weights & Biases run, which it begins; WANDB_MODE=offline keeps it on this machine.

    Args:
        project: str.
        run_id: str; a run that goes on has the same.
        stage: str, put before the metrics' names.
        config: dict, what the run was begun with.
        directory: where the run's files go.
    """

    def __init__(self, project, run_id, stage, config, directory):
        super().__init__()
        import wandb

        self._stage = stage
        self._run = wandb.init(
            project=project, id=run_id, resume="allow", config=config, dir=str(directory)
        )
        # steps of its own for every stage of a run
        self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")

    def on_train_batch_end(self, batch, logs=None):
        values = {f"{self._stage}/{name}": value for name, value in (logs or {}).items()}
        self._run.log({f"{self._stage}/step": batch} | values)

    def on_train_end(self, logs=None):
        self._run.finish()


class MlflowLogger(keras.callbacks.Callback):
    """Logs to an MLflow run, which it begins; MLFLOW_TRACKING_URI says where.

    Args:
        project: str, MLflow's experiment.
        run_id: str, the run's name; a run that goes on is found by it.
        stage: str, put before the metrics' names.
        config: dict, what the run was begun with.
        directory: not used; MLflow has a place of its own.
    """

    def __init__(self, project, run_id, stage, config, directory):
        super().__init__()
        del directory
        import mlflow

        self._mlflow, self._stage = mlflow, stage
        mlflow.set_experiment(project)
        known = mlflow.search_runs(
            filter_string=f"tags.`mlflow.runName` = '{run_id}'", output_format="list"
        )
        if known:
            mlflow.start_run(run_id=known[0].info.run_id)
        else:
            mlflow.start_run(run_name=run_id)
            mlflow.log_params({name: str(value)[:500] for name, value in _flat(config).items()})

    def on_train_batch_end(self, batch, logs=None):
        values = {f"{self._stage}/{name}": value for name, value in (logs or {}).items()}
        self._mlflow.log_metrics(values, step=batch)

    def on_train_end(self, logs=None):
        self._mlflow.end_run()


LOGGERS = {"wandb": WandbLogger, "mlflow": MlflowLogger}


def make_logger(name, **where):
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
