"""The arithmetic experiment in a few steps, and what it must reach in all of them."""

from __future__ import annotations

import json

import pytest

from experiments.tasks.arithmetic import ArithmeticConfig, main
from tfalign.options import changed
from tfalign.trainers.options import FineTuneOptions


@pytest.mark.slow
def test_a_small_run_reports_and_is_not_run_again(tmp_path):
    few = {"length": 10, "batch_size": 8, "steps": 3, "warmup_steps": 1, "log_every": 1}
    sft = changed(FineTuneOptions(), **few)
    model = {"preset": "tiny_llama", "width": 16, "num_layers": 1, "pupils": 1}
    grpo = {"batch_size": 8, "group_size": 2, "steps": 3, "warmup_steps": 1, "log_every": 1}
    config = changed(ArithmeticConfig(sft=sft), run_dir=str(tmp_path), **model, **grpo)
    main(config)
    report = json.loads((tmp_path / "report.json").read_text())
    for stage in ("sft", "grpo"):
        for way in ("greedy", "sampled"):
            low, high = report[stage][way]["ci95"]
            assert 0 <= low <= report[stage][way]["right"] <= high <= 1
    assert set(report["seconds"]) == {"sft", "grpo"}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    grpo = [line for line in lines if line["stage"] == "grpo"]
    assert [line["step"] for line in grpo] == [1, 2, 3]
    assert all(line["first_max_log_ratio"] < 1e-4 for line in grpo)
    assert abs(grpo[0]["kl"]) < 1e-3  # the policy still is its reference
    model = tmp_path / "models" / "grpo" / "model.safetensors"
    written = model.stat().st_mtime_ns
    main(config)
    assert model.stat().st_mtime_ns == written
