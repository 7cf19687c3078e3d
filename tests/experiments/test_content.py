"""Demanded, priced or rewarded: what is read off a run, and the table at equal KL."""

from __future__ import annotations

import json

import pytest

from experiments.tasks.content import at_kl, draw, of_run, report


def test_a_run_with_weights_by_hand(tmp_path):
    """Six iterations; reward -3 is one of errors and 0.5 x 2 words and 1 x 1 banned; a brief has four slots."""
    options = {"banned_weight": 1.0, "length_weight": 0.5}
    (tmp_path / "config.json").write_text(json.dumps({"compose": options}))
    lines = [
        {"stage": "grpo", "step": step, "time": 0.0, "kl": float(step), "reward": -3.0}
        | {"cost_banned": 1.0, "cost_words": 2.0}
        for step in range(1, 7)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = of_run(tmp_path, slots=4.0)
    assert found == {
        "kl": [1.0, 4.0],
        "slot_error": [0.25, 0.25],
        "banned": [1.0, 1.0],
        "words": [2.0, 2.0],
    }
    assert at_kl(found, 2.5) == {"slot_error": 0.25, "banned": 1.0, "words": 2.0}
    assert at_kl(found, 4.5) is None
    text = report({"priced": found}, (2.0, 9.0))
    assert "| 2 | priced | 0.25 | 1 | 2 |" in text and "| 9 | priced | not reached |" in text
    draw(tmp_path / "content.png", {"priced": found})
    assert (tmp_path / "content.png").stat().st_size > 0


def test_between_two_points():
    assert at_kl({"kl": [4.0, 0.0], "words": [20.0, 10.0]}, 1.0) == pytest.approx({"words": 12.5})
