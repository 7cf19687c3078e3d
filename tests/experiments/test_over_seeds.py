"""The interval over seeds, and what it is read from."""

from __future__ import annotations

import json
import math

import pytest

from experiments.studies.over_seeds import OverSeedsConfig, interval, main


def report(rate):
    return {
        "reward_model": {"accuracy": 0.8},
        "sft": {"gold_reward": 0.5, "gold_parts": {"addresses": 0.1}},
        "ppo": {
            "gold_reward": 2.0,
            "kl": 4.0,
            "gold_parts": {"addresses": 0.6},
            "checks": {"right order number": {"value": 0.98, "of": 50}, "right city": {"of": 0}},
            "win_rate_vs_sft": {"value": rate, "ci95": [rate - 0.04, rate + 0.04]},
        },
        "seconds": {"total": 300.0},
    }


def write(folder, content):
    folder.mkdir()
    (folder / "report.json").write_text(content)
    return str(folder)


def test_students_interval_by_hand():
    # Of 1, 2, 3, 4, 5: mean 3, deviation sqrt(2.5), t of 4 degrees of freedom 2.776.
    mean, half = interval([1, 2, 3, 4, 5])
    assert mean == 3.0
    assert half == pytest.approx(2.776 * math.sqrt(2.5) / math.sqrt(5), rel=2e-3)
    assert interval([7.0])[0] == 7.0 and math.isnan(interval([7.0])[1])


def test_runs_are_summarised(tmp_path):
    runs = [write(tmp_path / f"r{i}", json.dumps(report(0.8 + 0.02 * i))) for i in range(3)]
    main(OverSeedsConfig(run_dir=str(tmp_path), runs=tuple(runs)))
    summary = json.loads((tmp_path / "over_seeds.json").read_text())
    assert summary["win rate"]["mean"] == pytest.approx(0.82)
    assert summary["win rate"]["min"] == 0.8
    assert summary["right order number, ppo"]["values"] == [0.98] * 3
    assert "| win rate | 0.820 |" in (tmp_path / "over_seeds.md").read_text()


@pytest.mark.parametrize(
    "content, message", [("{}", "'ppo'"), ("[", "report.json: "), ("[1]", "not a report")]
)
def test_a_report_that_lacks_something_is_named(tmp_path, content, message):
    run = write(tmp_path / "bad", content)
    with pytest.raises(ValueError, match=message):
        main(OverSeedsConfig(run_dir=str(tmp_path), runs=(run,)))


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--runs"):
        main(OverSeedsConfig(run_dir=str(tmp_path)))
