"""The loop: what is logged, saved and called at which step."""

import contextlib

import keras
import pytest

from tfalign.training.loop import run_steps


class Recorder:
    """RunState and MetricsLog in one: remembers what was asked of it."""

    def __init__(self):
        self.saved, self.written = [], {}

    saving = contextlib.nullcontext

    def begin_save(self, step):
        self.saved.append(step)

    def check(self):
        """Nothing is written by another thread."""

    def write(self, step, logs):
        self.written[step] = logs


class Watcher(keras.callbacks.Callback):
    def __init__(self, stop_at=None):
        super().__init__()
        self.stop_at, self.calls = stop_at, []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((batch, logs["loss"]))
        if batch == self.stop_at:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.calls.append(("end", logs.get("loss")))


def run(steps=10, watcher=None, model=None, **more):
    recorder, updated = Recorder(), []

    def update(step):
        updated.append(step)
        return {"loss": keras.ops.convert_to_tensor(step / 2)}

    logs = run_steps(
        update,
        steps,
        recorder,
        recorder,
        callbacks=[watcher] if watcher else [],
        model=model,
        **{"log_every": 4, "save_every": 3} | more,
    )
    return logs, updated, recorder


def test_updates_logs_and_saves_at_their_steps():
    logs, updated, recorder = run()
    assert updated == list(range(1, 11))
    assert recorder.written == {4: {"loss": 2.0}, 8: {"loss": 4.0}, 10: {"loss": 5.0}}
    assert recorder.saved == [3, 6, 9, 10]
    assert logs == {"loss": 5.0} and type(logs["loss"]) is float


@pytest.mark.parametrize("first", [3, 6, 10])
def test_goes_on_after_the_first_step(first):
    _, updated, recorder = run(first_step=first)
    assert updated == list(range(first + 1, 11))
    assert list(recorder.written) == [step for step in (4, 8, 10) if step > first]
    assert recorder.saved == [step for step in (3, 6, 9, 10) if step > first]


def test_nothing_left_to_do():
    assert run(first_step=10)[0] == {}


def test_callbacks_get_the_logged_steps_and_the_model():
    watcher, model = Watcher(), keras.Model()
    run(watcher=watcher, model=model)
    assert watcher.calls == ["begin", (4, 2.0), (8, 4.0), (10, 5.0), ("end", 5.0)]
    assert watcher.model is model


def test_stop_training_saves_and_stops_at_once():
    watcher, model = Watcher(stop_at=4), keras.Model()
    logs, updated, recorder = run(watcher=watcher, model=model)
    assert updated == [1, 2, 3, 4]
    assert recorder.saved == [3, 4]
    assert watcher.calls[-1] == ("end", 2.0) and logs == {"loss": 2.0}
    _, updated, _ = run(first_step=4, model=model)  # the next run is not stopped by the last one
    assert updated == list(range(5, 11))


def test_an_update_may_stop_too():
    recorder, model = Recorder(), keras.Model()

    def update(step):
        model.stop_training = step == 2
        return {"loss": float(step)}

    logs = run_steps(update, 10, recorder, recorder, model=model)
    assert (logs, recorder.saved, recorder.written) == ({"loss": 2.0}, [2], {2: {"loss": 2.0}})
