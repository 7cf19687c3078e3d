"""The whole road on a tiny model: it runs, it reports, and a kill in any stage changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file

STAGES = ("pretrain", "sft", "reward_model", "ppo")


def start(run_dir, data_dir, *flags):
    command = [sys.executable, "-m", "experiments.pipeline", "--config=smoke"]
    return subprocess.Popen(
        [*command, f"--run_dir={run_dir}", f"--data_dir={data_dir}", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]


def metrics(run_dir):
    """Every logged number by stage and step, without the clock."""
    lines = [json.loads(x) for x in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return sorted(
        ({k: v for k, v in line.items() if k != "time"} for line in lines),
        key=lambda line: (line["stage"], line["step"]),
    )


def kill_during(process, run_dir, stage, step):
    """SIGKILL once the stage has logged this step."""
    file = run_dir / "metrics.jsonl"
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists():
            text = file.read_text()
            if f'"stage": "{stage}", "step": {step},' in text:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                return
        time.sleep(0.01)
    _, errors = process.communicate()
    raise AssertionError(f"{stage} never logged step {step}: {errors[-2000:]}")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole")
    data_dir = tmp_path_factory.mktemp("data")
    finish(start(run_dir, data_dir))
    return run_dir, data_dir


@pytest.mark.slow
def test_the_pipeline_runs_and_reports(whole_run):
    run_dir, _ = whole_run
    report = json.loads((run_dir / "report.json").read_text())
    assert 0 <= report["reward_model"]["accuracy"] <= 1
    assert {"gold_reward"} <= set(report["sft"]) & set(report["ppo"])
    low, high = report["ppo"]["win_rate_vs_sft"]["ci95"]
    assert low <= report["ppo"]["win_rate_vs_sft"]["value"] <= high
    assert set(STAGES) <= set(report["seconds"])
    for file in ("config.json", "versions.json", "report.md"):
        assert (run_dir / file).stat().st_size > 0
    assert list((run_dir / "plots").glob("*.png"))
    first = next(line for line in metrics(run_dir) if line["stage"] == "ppo")
    assert first["step"] == 1
    assert first["first_max_log_ratio"] < 1e-4
    assert abs(first["kl"]) < 1e-3  # the policy still is its reference


@pytest.mark.slow
def test_killed_in_every_stage_and_resumed_equals_uninterrupted(whole_run, tmp_path):
    run_dir, data_dir = whole_run
    for stage in STAGES:
        kill_during(start(tmp_path, data_dir), tmp_path, stage, 6 if stage == "pretrain" else 2)
    finish(start(tmp_path, data_dir))
    assert metrics(tmp_path) == metrics(run_dir)
    for stage in STAGES:
        file = f"models/{stage}/model.safetensors"
        ours, theirs = load_file(tmp_path / file), load_file(run_dir / file)
        assert ours.keys() == theirs.keys()
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


def test_a_run_refuses_other_options(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"run_dir": "elsewhere"}))
    process = start(tmp_path, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "config.json" in errors and "Traceback" not in errors
