"""The walker from end to end on the embedded graph, in a small way."""

from __future__ import annotations

import json

import pytest

from experiments.tasks.walk_graph import WalkGraphConfig, main
from tfalign.options import changed


@pytest.mark.slow
def test_it_learns_to_walk_to_what_can_be_inferred(tmp_path):
    config = WalkGraphConfig(run_dir=str(tmp_path / "walk"), beam=32, width=64)
    small = {"steps": 150, "batch_size": 64, "save_every": 1000}
    config = changed(config, **{f"imitation.{name}": value for name, value in small.items()})
    config = changed(config, **{"links.batch_size": 100, "links.epochs": 20})
    config = changed(config, steps=4, batch_size=64)
    main(config)
    report = json.loads((tmp_path / "walk" / "walk_graph.json").read_text())
    assert report["imitation"]["test"]["mrr"] > 0.6
    (first, *_) = report["answers"]
    assert first["found"][0]["path"].startswith("Vienna ")
    lines = (tmp_path / "walk" / "metrics.jsonl").read_text().splitlines()
    ratios = [
        m["first_max_log_ratio"] for m in map(json.loads, lines) if "first_max_log_ratio" in m
    ]
    assert ratios and max(map(abs, ratios)) <= 1e-5
    assert "<svg" in (tmp_path / "walk" / "answer_1.html").read_text()
