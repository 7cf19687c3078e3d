"""The translation experiment: a few steps of it, its own data, and mistakes."""

from __future__ import annotations

import json

import pytest

from experiments.tasks.translate import TranslateConfig, main
from tfalign.options import changed

pytest.importorskip("sacrebleu")
SMALL = {"width": 16, "num_layers": 1, "num_heads": 2, "batch_size": 4, "steps": 2, "log_every": 1}


@pytest.mark.slow
def test_a_small_run_on_ones_own_data(tmp_path):
    pairs = [{"prompt": f"say {word}", "completion": word} for word in "abcdefghij"]
    lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
    (tmp_path / "train.jsonl").write_text(lines)
    source = f"{tmp_path}/train.jsonl::{tmp_path}/train.jsonl"
    given = {"run_dir": str(tmp_path / "run"), "data": source, "vocab_size": 300}
    main(changed(TranslateConfig(), **given, **SMALL))
    results = json.loads((tmp_path / "run" / "translate.json").read_text())
    assert results["test"] == 10 and results["beam_less_likely_than_greedy"] == 0
    for way in ("greedy", "beam"):
        low, high = results[way]["all"]["ci95"]
        assert 0 <= low <= results[way]["all"]["exact_match"] <= high <= 1
    assert (tmp_path / "run" / "plots" / "learning_curves.png").exists()
