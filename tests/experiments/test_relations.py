"""The extractor of relations from end to end, on a few sentences made by hand."""

from __future__ import annotations

import json

import pytest

from experiments.tasks.relations import RelationsConfig, main
from tfalign.applications.knowledge import RelationExtractor
from tfalign.options import changed


@pytest.mark.slow
def test_it_learns_where_things_are(tmp_path):
    things, places = "花草树石", "山谷河海"
    lines = [f"{a}\t{b}\tLocated\t{a}在{b}里" for a in things for b in places]
    lines += [f"{a}\t{b}\tunknown\t{a}和{b}" for a in things for b in places]
    for split in ("train", "valid", "test"):
        (tmp_path / f"SanWen_{split}.txt").write_text("\n".join(lines), encoding="utf-8")
    config = RelationsConfig(run_dir=str(tmp_path / "run"), data=str(tmp_path), seeds=(0, 1))
    config = changed(config, epochs=15, batch_size=8, width=32, warmup_steps=2, learning_rate=5e-3)
    main(config)
    report = json.loads((tmp_path / "run" / "relations.json").read_text())
    assert len(report["all"]) == 2
    assert report["best"]["test"]["f1"] > 0.95 and report["mean"]["test"]["f1"] > 0.95
    kept = RelationExtractor.load(tmp_path / "run" / "seed_0" / "models" / "relations")
    (triple,) = kept.extract("石在河里", [(0, 1), (2, 3)])
    assert triple[:3] == ("石", "Located", "河")
