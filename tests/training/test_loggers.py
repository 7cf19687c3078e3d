"""Metrics handed on to other services: what their packages are called with, here by stand-ins."""

import sys
import types
from unittest.mock import MagicMock

import pytest

from tfalign.training.loggers import make_logger
from tfalign.training.loop import run_steps

WHERE = {
    "project": "p",
    "run_id": "r",
    "run_name": 'it\'s a "name"',
    "stage": "sft",
    "config": {"a": {"b": 1}},
    "directory": "d",
}


class Calls(list):
    """Records calls of any method as (name, arguments)."""

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.append((name, args, kwargs))
            return self

        return call


def run(logger):
    """Five steps, logged every second and at the last."""
    silent = MagicMock()
    run_steps(lambda step: {"loss": 1 / step}, 5, silent, silent, log_every=2, callbacks=[logger])


def test_wandb(monkeypatch):
    calls = Calls()
    monkeypatch.setitem(sys.modules, "wandb", calls)
    run(make_logger("wandb", **WHERE))
    begun = calls[0]
    assert begun[0] == "init" and begun[2]["id"] == "r" and begun[2]["resume"] == "allow"
    assert begun[2]["name"] == WHERE["run_name"]
    logged = [args[0] for name, args, _ in calls if name == "log"]
    assert logged == [{"sft/step": step, "sft/loss": 1 / step} for step in (2, 4, 5)]
    assert calls[-1][0] == "finish"


@pytest.mark.parametrize("known", [False, True])
def test_mlflow(monkeypatch, known):
    calls = Calls()
    found = types.SimpleNamespace(info=types.SimpleNamespace(run_id="7"))
    monkeypatch.setitem(sys.modules, "mlflow", calls)
    asked = []
    calls.search_runs = lambda **given: asked.append(given) or ([found] if known else [])
    run(make_logger("mlflow", **WHERE))
    started = next(kwargs for name, _, kwargs in calls if name == "start_run")
    new = {"run_name": WHERE["run_name"], "tags": {"tfalign.run_id": "r"}}
    assert started == ({"run_id": "7"} if known else new)
    assert asked[0]["filter_string"] == "tags.`tfalign.run_id` = 'r'"
    params = [args[0] for name, args, _ in calls if name == "log_params"]
    assert params == ([] if known else [{"a.b": "1"}])
    logged = [(args[0], kwargs["step"]) for name, args, kwargs in calls if name == "log_metrics"]
    assert logged == [({"sft/loss": 1 / step}, step) for step in (2, 4, 5)]
    assert calls[-1][0] == "end_run"


@pytest.mark.parametrize("run_id", ["it's", 'a "b"', "a/b#c?d%e:f", "客服", "x" * 200])
def test_an_identity_of_any_characters_is_one_that_services_take(monkeypatch, run_id):
    calls = Calls()
    monkeypatch.setitem(sys.modules, "wandb", calls)
    ids = []
    for given in (run_id, run_id, run_id + "'"):
        make_logger("wandb", **WHERE | {"run_id": given})
        ids.append([kwargs["id"] for name, _, kwargs in calls if name == "init"][-1])
    assert ids[0] == ids[1] != ids[2]
    assert all(len(one) <= 64 and one.isalnum() and one.isascii() for one in ids)


def test_mlflow_takes_many_options_and_any_names(monkeypatch):
    calls = Calls()
    monkeypatch.setitem(sys.modules, "mlflow", calls)
    calls.search_runs = lambda **_: []
    logger = make_logger("mlflow", **WHERE | {"config": {f"a({i})": i for i in range(250)}})
    params = [args[0] for name, args, _ in calls if name == "log_params"]
    assert [len(some) for some in params] == [100, 100, 50]
    logger.on_train_batch_end(1, {"KL (nats)": 0.5})
    assert calls[-1][1] == ({"sft/KL _nats_": 0.5},)


def test_what_is_not_known_or_not_installed(monkeypatch):
    with pytest.raises(ValueError, match="to wandb, mlflow too. Received: 'paper'"):
        make_logger("paper", **WHERE)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="To log to wandb its package must be installed"):
        make_logger("wandb", **WHERE)
