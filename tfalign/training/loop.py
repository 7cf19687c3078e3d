"""The training loop: progress, metrics, checkpoints, resume."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from tqdm import tqdm

from tfalign.training import interruption
from tfalign.training.guard import NotFiniteError
from tfalign.training.metrics_log import MetricsLog, NoLog
from tfalign.training.run_state import RunState
from tfalign.training.step_watch import StepWatch, Unwatched


def run_steps(
    update: Callable[[int], Mapping[str, Any]],
    steps: int,
    run_state: RunState,
    metrics: MetricsLog | NoLog,
    *,
    first_step: int = 0,
    log_every: int = 10,
    save_every: int = 100,
    name: str = "",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    model: keras.Model | None = None,
    gather: Callable[[int], list[int]] = lambda value: [value],
    watch: StepWatch | Unwatched = Unwatched(),  # noqa: B008  # it holds nothing
) -> dict[str, float]:
    """Calls ``update`` until ``steps`` updates are done, from ``first_step`` on.

    Args:
        update: ``step -> dict of scalars``; one update, and what it says of itself.
        steps: int, updates in all.
        run_state: RunState, saved every ``save_every`` updates and at the end; all is written when this returns.
        metrics: MetricsLog, written every ``log_every`` updates and at the last one.
        first_step: int, updates already done, as ``run_state.restore()`` returns.
        log_every: int.
        save_every: int.
        name: str, shown by the progress bar.
        callbacks: keras.callbacks.Callback objects; they get ``on_train_batch_end(step, logs)`` at
            every logged update, and may set ``model.stop_training``, which ends the run after it.
        model: keras.Model the callbacks are given.
        gather: int -> list of int, see ``interruption.Deferred``, where several processes train together.
        watch: StepWatch, which ``update`` tells what it did; what it measures is written with the metrics, and is no
            part of what is returned.

    Returns:
        dict of floats, what the last update said; empty if there was none.

    Raises:
        ValueError: if ``log_every`` or ``save_every`` is less than 1.
        Interrupted: after SIGTERM or SIGINT, when the running update has ended and is saved.
        NotFiniteError: if too many updates in a row were not finite, naming the stage and the step.
    """
    _check(log_every=log_every, save_every=save_every)
    callbacks = _begun(callbacks, model)
    logs = {}
    progress = {"desc": name, "unit": "step", "mininterval": 1.0, "smoothing": 0.1}
    with (
        tqdm(total=steps, initial=first_step, **progress) as bar,
        interruption.handled(),
        interruption.Deferred(gather) as deferred,
        run_state.saving(),
        contextlib.closing(watch),
    ):
        for step in range(first_step + 1, steps + 1):
            with watch.step(step):
                scalars = _updated(update, step, name)
            last = step == steps or _stopped(model)
            if step % log_every == 0 or last:
                logs = {key: float(value) for key, value in scalars.items()}
                told = logs | watch.read()
                metrics.write(step, told)
                bar.set_postfix_str(_short(told), refresh=False)
                callbacks.on_train_batch_end(step, told)
            last = last or _stopped(model) or deferred.agreed()
            run_state.check()
            if step % save_every == 0 or last:
                with watch.paused():
                    run_state.begin_save(step)
            bar.update()
            if last:
                break
        callbacks.on_train_end(logs)
    return logs


def _begun(callbacks, model):
    callbacks = keras.callbacks.CallbackList(list(callbacks), model=model)
    if model is not None:
        model.stop_training = False
    callbacks.on_train_begin()
    return callbacks


def _check(**intervals):
    for parameter, value in intervals.items():
        if value < 1:
            raise ValueError(f"{parameter} must be at least 1. Received: {parameter}={value}")


def _updated(update, step, name):
    try:
        return update(step)
    except NotFiniteError as error:
        raise NotFiniteError(f"{name}, step {step}: {error}") from None


def _stopped(model):
    return model is not None and model.stop_training


_SHOWN = {
    **{name: name for name in ("loss", "accuracy", "score", "gold_reward", "kl")},
    "learning_rate": "lr",
    "tokens_per_second": "tokens/s",
    "mfu": "mfu",
    "memory_gb": "GB",
}


def _short(logs):
    """The few numbers worth watching."""
    return " ".join(f"{label}={logs[key]:.3g}" for key, label in _SHOWN.items() if key in logs)
