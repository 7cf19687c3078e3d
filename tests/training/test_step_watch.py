"""What is measured of a training's steps, with a clock that is set by hand."""

from __future__ import annotations

import contextlib
import json

import keras
import numpy as np
import pytest

from tfalign import backend
from tfalign.models import CausalLM
from tfalign.objectives import LanguageModelling
from tfalign.rewards import RewardModel
from tfalign.trainers import FineTuner
from tfalign.trainers.options import RunOptions
from tfalign.training import step_watch
from tfalign.training.batch_work import operations_of, tokens_of
from tfalign.training.learner import Learner
from tfalign.training.loop import run_steps
from tfalign.training.step_costs import Work, reward_costs, supervised_costs
from tfalign.training.step_watch import StepWatch
from tfalign.training.trace import Trace
from tfalign.types import LanguageModelBatch, PreferencePairs


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Recorder:
    """RunState and MetricsLog in one; saving takes 100 seconds."""

    def __init__(self, clock):
        self.clock, self.written = clock, {}

    saving = contextlib.nullcontext

    def begin_save(self, step):
        self.clock.now += 100

    def check(self):
        pass

    def write(self, step, logs):
        self.clock.now += 1000
        self.written[step] = logs


def test_a_step_takes_what_its_update_takes(monkeypatch):
    """Logging, saving and what is measured in between count for nothing, nor does a step that compiles."""
    monkeypatch.setattr(step_watch, "used_memory", lambda: 3_000_000_000)
    clock, program = Clock(), backend.jit(lambda x: x + 1)
    watch, recorder = StepWatch(peak=1e13, clock=clock), Recorder(clock)

    def update(step):
        clock.now += step
        if step in (2, 5):
            program(np.zeros(step, "float32"))
        with watch.paused():
            clock.now += 10_000
            if step == 4:
                program(np.zeros(4, "float32"))
        watch.note({"loss": np.float32(0.5)}, tokens=10 * step, operations=1e12 * step)
        return {"loss": 0.5}

    options = {"log_every": 4, "save_every": 3, "watch": watch}
    logs = run_steps(update, 5, recorder, recorder, **options)
    assert logs == {"loss": 0.5}
    of_three = {"step_seconds": (1 + 3 + 4) / 3, "tokens_per_second": 10.0}
    of_three |= {"step_tflops": (1 + 3 + 4) / 3, "mfu": pytest.approx(0.1)}
    memory = {"loss": 0.5, "memory_gb": 3.0}
    assert recorder.written == {4: of_three | memory, 5: memory}


def language_batch(rows, columns):
    real = np.arange(columns) < np.arange(1, rows + 1)[:, None]
    return LanguageModelBatch(np.ones((rows, columns), "int32"), real, real, real.astype("int32"))


def test_tokens_and_operations_of_a_batch():
    model = CausalLM.from_preset("tiny_llama", vocab_size=24, max_positions=16)
    batch = language_batch(3, 10)
    assert tokens_of(batch) == 1 + 2 + 3 and tokens_of({"x": 1}) is None
    planned = supervised_costs(model.config, Work(3, 0, 10))
    assert operations_of(model, batch) == planned.total_flops
    ids, real = np.ones((3, 10), "int32"), np.ones((3, 10), "bool")
    pairs = PreferencePairs(ids, real, ids, real, np.zeros(3, "float32"))
    planned = reward_costs(model.config, Work(3, 0, 10))
    assert operations_of(RewardModel(model.backbone), pairs) == planned.total_flops
    assert operations_of(model, {"x": 1}) is None and operations_of(keras.Model(), batch) is None


def test_the_learning_rate_is_the_updates_own():
    model = CausalLM.from_preset("tiny_llama", vocab_size=24, max_positions=16, num_layers=1)
    schedule = keras.optimizers.schedules.PolynomialDecay(0.5, 4, 0.0)
    learner = Learner(model, LanguageModelling(), keras.optimizers.SGD(schedule))
    rates = [float(learner.update(language_batch(2, 4))["learning_rate"]) for _ in range(3)]
    np.testing.assert_allclose(rates, [0.5, 0.375, 0.25])


@pytest.mark.parametrize("steps", ["10", "0:3", "4:3", "a:b", "1:2:3"])
def test_a_range_of_steps_that_is_none(steps):
    with pytest.raises(ValueError, match=rf"FIRST:LAST.* Received: profile_steps='{steps}'"):
        RunOptions(profile_steps=steps)


def steps_of(folder):
    """The steps in a trace, read by JAX's parser of XProf's files, whichever backend wrote it."""
    (file,) = folder.rglob("*.xplane.pb")
    assert file.relative_to(folder).parts[:2] == ("plugins", "profile")
    events = [
        event
        for plane in pytest.importorskip("jax.profiler").ProfileData.from_file(str(file)).planes
        for line in plane.lines
        for event in line.events
        if event.name == "train"
    ]
    assert sum(event.duration_ns for event in events) > 0
    return sorted(int(dict(event.stats)["step_num"]) for event in events)


@pytest.mark.parametrize(("last", "traced"), [(6, [3, 4]), (3, [3])])
def test_traced_steps_are_in_the_trace_and_no_others(tmp_path, last, traced):
    """Of a training that ends before the last of them, those that there were."""
    program, watch = backend.jit(lambda x: x @ x), StepWatch(Trace((3, 4), tmp_path))
    for step in range(1, last + 1):
        assert not any(tmp_path.iterdir()) or step > 3
        with watch.step(step):
            watch.note({"loss": program(np.ones((4, 4), "float32"))[0, 0]})
    watch.close()
    assert steps_of(tmp_path) == traced


@pytest.mark.slow
def test_a_training_measures_and_traces_its_steps(start, tmp_path):
    rows = [{"prompt": f"a{i}", "completion": "b"} for i in range(40)]
    options = {"steps": 4, "batch_size": 4, "length": 12, "log_every": 2, "warmup_steps": 1}
    given = {"profile_steps": "3:4", "peak_tflops": 0.1, "run_dir": tmp_path / "run"}
    FineTuner(start[0], rows, **options, **given).train()
    assert steps_of(tmp_path / "run" / "events" / "sft") == [3, 4]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert lines[0]["learning_rate"] == pytest.approx(5e-4) and lines[1]["memory_gb"] > 0
    assert (
        0
        < lines[1]["mfu"]
        == pytest.approx(lines[1]["step_tflops"] / lines[1]["step_seconds"] / 0.1)
    )
