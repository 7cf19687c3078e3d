"""The whole of it from beginning to end, tiny: what it writes, and that the first ratios are 1."""

from __future__ import annotations

import json

import pytest

from tfalign.applications.dialogue import DialogueOptions, train_dialogue
from tfalign.options import changed

TINY = {"width": 16, "num_layers": 1, "copies": 1, "test_goals": 8, "goals": 0, "steps": 2}
TINY |= {"batch_size": 16, "max_new_tokens": 96, "dialogue_turns": 3, "warmup_steps": 0}
TINY |= {"sft.steps": 3, "sft.warmup_steps": 1, "learned_users": 4}


@pytest.mark.slow
def test_writes_a_report_with_conversations(tmp_path):
    run = tmp_path / "run"
    found = train_dialogue(changed(DialogueOptions(), run_dir=str(run), **TINY))
    assert json.loads((run / "report.json").read_text()) == found
    assert set(found) == {"sft", "rl", "seconds"}
    numbers = {"test", "simulated", "simulated_sampled", "learned", "learned_sampled"}
    assert set(found["sft"]) == set(found["rl"]) == numbers
    lines = (run / "metrics.jsonl").read_text().splitlines()
    aligned = [line for line in map(json.loads, lines) if line["stage"] == "rl"]
    assert len(aligned) == 2 and all("success" in line for line in aligned)
    assert all(line["first_max_log_ratio"] <= 1e-5 for line in aligned)
    report = (run / "report.md").read_text()
    assert "### 1. " in report and "| simulated, success | " in report
    assert (run / "plots" / "success_against_kl.png").exists()
