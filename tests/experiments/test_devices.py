"""Devices by flag: two replicas and two workers are one device; mistakes are told in a sentence."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tfalign import backend
from tfalign.backend import tensorflow_devices
from tfalign.training import await_peers, devices
from tfalign.training.metrics_log import MEASURED

ROOT = Path(__file__).resolve().parents[2]
LLAMA = "--pretrain.preset=tiny_llama"
WORKER = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'
CHIEF = '{"cluster": {"chief": ["c:3"], "worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}'


@pytest.mark.parametrize(("tf_config", "peers"), [(WORKER, ["a:1"]), (CHIEF, ["a:1"])])
def test_peers_are_the_other_workers(tf_config, peers):
    assert devices.peers_of(tf_config) == peers


@pytest.mark.parametrize(
    ("tf_config", "index"),
    [
        (WORKER, 1),
        (WORKER.replace('"index": 1', '"index": 0'), 0),
        (CHIEF, 0),
        (CHIEF.replace('"type": "chief"', '"type": "worker"'), 1),
    ],
)
def test_one_process_is_the_first(monkeypatch, tf_config, index):
    """The chief, where there is one; the first worker then is the second."""
    monkeypatch.setenv("TF_CONFIG", tf_config)
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    monkeypatch.setattr(tensorflow_devices, "_resolver", lambda: resolver)
    assert backend.process_index() == index
    assert backend.is_chief() == (index == 0)


@pytest.mark.parametrize(
    "tf_config",
    [
        "",
        "{",
        '{"cluster": {}}',
        WORKER.replace('"index": 1', '"index": 2'),
        WORKER.replace(":2", ""),
    ],
)
def test_a_wrong_tf_config_is_shown(tf_config):
    with pytest.raises(ValueError, match="needs TF_CONFIG=.* Received: TF_CONFIG="):
        devices.peers_of(tf_config)


def test_a_peer_that_does_not_answer_is_found():
    with socket.create_server(("localhost", 0)) as there:
        answering = f"localhost:{there.getsockname()[1]}"
        (port,) = free_ports(1)
        assert await_peers.await_peers([answering], 60.0) is None
        assert await_peers.await_peers([answering, f"localhost:{port}"], 0.0) == f"localhost:{port}"


def start(*flags, **environment):
    """A process of the smoke pipeline.

    Of a Llama, whose keys have no bias: the gradient of one is 0 but for rounding, which differs from
    device to device and which Adam makes as large as any other.
    """
    return experiment("pipeline", "--config=smoke", LLAMA, *flags, **environment)


def experiment(name, *flags, **environment):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{name}", *flags],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    """Waits for all, and lets none of them outlive the test."""
    try:
        for process in processes:
            _, errors = process.communicate(timeout=1200)
            assert process.returncode == 0, errors[-4000:]
    finally:
        for process in processes:
            process.kill()


def cluster(index, ports):
    return json.dumps(
        {
            "cluster": {"worker": [f"localhost:{port}" for port in ports]},
            "task": {"type": "worker", "index": index},
        }
    )


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directories of the pipeline's run on one device, on two replicas, and by two workers."""
    path = tmp_path_factory.mktemp("devices")
    places = {name: path / name for name in ("one", "mirrored", "multiworker")}
    flags = {  # each with data of its own, which several workers have to build once
        name: [f"--run_dir={place}", f"--data_dir={place}-data"] for name, place in places.items()
    }
    finish(start(*flags["one"]))
    finish(start(*flags["mirrored"], "--strategy=mirrored", "--cpu_devices=2"))
    ports = free_ports(2)
    both = [*flags["multiworker"], "--strategy=multiworker"]
    finish(*(start(*both, TF_CONFIG=cluster(index, ports)) for index in range(2)))
    return places


def assert_same_weights(one, other):
    """Equal to rounding. Adam makes a step of the usual size of a gradient that is 0 but for rounding, as where
    both sides of a pair share a text: one weight in a thousand may be a part of such a step apart."""
    for name, expected in one.items():
        apart = np.abs(other[name] - expected)
        assert np.mean(apart > 1e-5 + 1e-5 * np.abs(expected)) < 1e-3, name
        assert apart.max() < 1e-4, name


@pytest.mark.exhaustive
@pytest.mark.slow  # four processes of the whole pipeline
@pytest.mark.parametrize("several", ["mirrored", "multiworker"])
@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward_model", "ppo"])
def test_several_devices_are_one(runs, several, stage):
    one, other = (
        load_file(runs[name] / "models" / stage / "model.safetensors") for name in ("one", several)
    )
    assert one.keys() == other.keys()
    assert_same_weights(one, other)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("several", ["mirrored", "multiworker"])
def test_metrics_are_those_of_one_and_written_once(runs, several):
    one, other = (
        [json.loads(line) for line in (runs[name] / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", several)
    )
    assert len(one) == len(other) > 15
    for a, b in zip(one, other, strict=True):
        for line in (a, b):  # a mean over the replicas' shares, of the largest in each
            line.pop("max_log_ratio", None)
            for name in MEASURED:
                line.pop(name, None)
        assert a.keys() == b.keys()
        assert (a.pop("stage"), a["step"]) == (b.pop("stage"), b["step"])
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_preferences_on_two_replicas_are_those_on_one(runs, tmp_path):
    """DPO of the pipeline's fine-tuned policy, six updates."""
    flags = [f"--model={runs['one']}/models/sft", f"--data_dir={runs['one']}-data"]
    flags += ["--steps=6", "--warmup_steps=2", "--batch_size=8", "--on_bad=skip"]
    flags += ["--max_prompt_tokens=42", "--max_new_tokens=48"]
    finish(experiment("preference", *flags, f"--run_dir={tmp_path}/one"))
    two = ["--strategy=mirrored", "--cpu_devices=2"]
    finish(experiment("preference", *flags, *two, f"--run_dir={tmp_path}/two"))
    one, other = (
        load_file(tmp_path / run / "models" / "dpo" / "model.safetensors") for run in ("one", "two")
    )
    before = load_file(runs["one"] / "models" / "sft" / "model.safetensors")
    assert any(np.abs(one[name] - before[name]).max() > 1e-4 for name in one)
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)


def kill_at(process, metrics, lines, seconds):
    """Kills a run so many seconds after its metrics have so many lines.

    Returns:
        bool, whether it was still running.
    """
    while _lines(metrics) < lines and process.poll() is None:
        time.sleep(0.005)
    time.sleep(seconds)
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def _lines(file):
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.exhaustive
@pytest.mark.slow  # eleven starts of the pipeline
def test_killed_ten_times_and_resumed_with_one_device_or_two(runs, tmp_path):
    flags = [f"--run_dir={tmp_path}", f"--data_dir={runs['one']}-data"]
    rng = random.Random(0)
    moments = sorted(rng.sample(range(_lines(runs["one"] / "metrics.jsonl") - 1), 10))
    for attempt, lines in enumerate(moments):
        replicas = ["--strategy=mirrored", "--cpu_devices=2"] if attempt % 2 else []
        process = start(*flags, *replicas)
        assert kill_at(process, tmp_path / "metrics.jsonl", lines, rng.uniform(0, 0.5))
    finish(start(*flags))
    for stage in ("pretrain", "sft", "reward_model", "ppo"):
        one, other = (
            load_file(path / "models" / stage / "model.safetensors")
            for path in (runs["one"], tmp_path)
        )
        assert one.keys() == other.keys()
        assert_same_weights(one, other)


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_named(tmp_path):
    ports = free_ports(2)
    process = start(
        f"--run_dir={tmp_path}",
        "--strategy=multiworker",
        "--peer_timeout=2",
        TF_CONFIG=cluster(0, ports),
    )
    _, errors = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL
    assert f"error: the worker at localhost:{ports[1]} has not answered for 2 seconds" in errors


@pytest.mark.exhaustive
@pytest.mark.slow
def test_jax_processes_that_share_the_weights_are_one(tmp_path):
    """Six updates by two processes that hold half of the weights each, and write as much; then the last
    three again from their checkpoint, by one process that holds them all, on TensorFlow."""
    ports = free_ports(2)
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    flags = ["--preset=tiny_llama", "--vocab_size=300", "--length=32", "--batch_size=4"]
    flags += ["--steps=6", "--warmup_steps=2", "--save_every=3", f"--data_dir={tmp_path}/data"]

    def pretrain(name, *more, **environment):
        places = f"--run_dir={tmp_path / name}"
        environment = {"KERAS_BACKEND": "jax"} | environment
        return experiment("pretrain_gpt", *flags, places, *more, **environment)

    def weights(name):
        return load_file(tmp_path / name / "models" / "pretrain" / "model.safetensors")

    finish(pretrain("one"))
    together = [
        pretrain(
            "two",
            "--mesh=fsdp:2",
            "--multihost",
            KERAS_DISTRIBUTION_JOB_ADDRESSES=addresses,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(index),
        )
        for index in range(2)
    ]
    finish(*together)
    two, one = weights("two"), weights("one")
    shutil.rmtree(tmp_path / "two" / "models")
    checkpoints = tmp_path / "two" / "checkpoints" / "pretrain"
    parts = [
        file.stat().st_size for file in checkpoints.glob("step-00000006/*-of-00002.safetensors")
    ]
    assert len(parts) == 2 and max(parts) < 1.2 * min(parts)
    shutil.rmtree(checkpoints / "step-00000006")
    finish(pretrain("two", KERAS_BACKEND="tensorflow"))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(weights("two")[name], one[name], 1e-5, 1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tensorflow", pytest.param("jax", marks=pytest.mark.exhaustive)])
def test_processes_that_train_together_end_together(tmp_path, kind):
    """One of two workers gets a SIGTERM: both end after the same update, with a checkpoint of it."""
    ports = free_ports(2)
    flags = ["--preset=tiny_llama", "--vocab_size=300", "--length=32", "--batch_size=4"]
    flags += ["--steps=100000", "--save_every=100000", "--log_every=1"]
    flags += [f"--run_dir={tmp_path}/run", f"--data_dir={tmp_path}/data"]
    jax = {
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(f"127.0.0.1:{port}" for port in ports),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    together = []
    for index in range(2):
        more, environment = ["--strategy=multiworker"], {"TF_CONFIG": cluster(index, ports)}
        if kind == "jax":
            more = ["--mesh=fsdp:2", "--multihost"]
            environment = jax | {"KERAS_DISTRIBUTION_PROCESS_ID": str(index)}
        together.append(experiment("pretrain_gpt", *flags, *more, **environment))
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while _lines(metrics) < 3 and together[0].poll() is None:
            time.sleep(0.01)
        together[1].send_signal(signal.SIGTERM)
        errors = [process.communicate(timeout=600)[1] for process in together]
    finally:
        for process in together:
            process.kill()
    assert [process.returncode for process in together] == [143, 143], errors
    (checkpoint,) = (tmp_path / "run" / "checkpoints" / "pretrain").iterdir()
    last = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert checkpoint.name == f"step-{last:08d}" and last >= 3
    assert json.loads((checkpoint / "state.json").read_text())["step"] == last
