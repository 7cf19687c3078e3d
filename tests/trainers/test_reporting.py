"""``report_run``: what a run has logged, on one page."""

import json

import pytest

from tfalign.trainers.reporting import report_run


def log(folder, *lines):
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps({"time": 1.0} | line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)


def test_a_run_on_one_page(tmp_path):
    log(
        tmp_path,
        {"stage": "sft", "step": 10, "loss": 2.0},
        {"stage": "sft", "step": 20, "loss": 1.5, "eval_loss": 1.75},
        {"stage": "grpo", "step": 4, "score": 0.5, "loss": 0.0},
    )
    (tmp_path / "sft.json").write_text('{"accuracy": 0.5}')
    values = report_run(tmp_path, "tfalign sft")
    assert values["sft"] == {"steps": 20, "loss": 1.5, "eval_loss": 1.75, "accuracy": 0.5}
    assert values["grpo"]["steps"] == 4 and values["command"] == "tfalign sft"
    page = (tmp_path / "report.md").read_text()
    assert "| sft.eval\\_loss | 1.75 |" in page and "plots/learning_curves.png" in page
    assert (tmp_path / "plots" / "learning_curves.png").exists()


def test_an_evaluations_report_is_kept(tmp_path):
    log(tmp_path, {"stage": "ppo", "step": 1, "score": 0.5})
    (tmp_path / "report.json").write_text('{"prompts": 3, "title": "Mine"}')
    assert report_run(tmp_path)["title"] == "Mine"
    assert not (tmp_path / "report.md").exists()
    assert (tmp_path / "plots" / "learning_curves.png").exists()


def test_no_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="is no run with metrics: there is no file"):
        report_run(tmp_path)
