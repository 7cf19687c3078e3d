"""``SimilarityTrainer``: what embeddings are worth before and after, runs that go on, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfalign

FEW = {"length": 8, "batch_size": 8, "steps": 4, "warmup_steps": 1, "log_every": 1, "save_every": 2}
WORDS = ["good", "bad", "dull", "fine"]


def pairs(count, seed=0):
    """Pairs of which the second is the first (5), shares a word (2.5), or shares none (0)."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        a, b, c, d = generator.permutation(WORDS)
        second, score = [(f"{a} {b}", 5.0), (f"{a} {c}", 2.5), (f"{c} {d}", 0.0)][number % 3]
        rows.append({"first": f"{a} {b}", "second": second, "score": score})
    return rows


@pytest.mark.slow
def test_measures_before_and_after_training(encoder, tmp_path):
    trainer = tfalign.SimilarityTrainer(
        encoder,
        pairs(90),
        held_out=pairs(30, seed=1),
        run_dir=tmp_path,
        **FEW | {"batch_size": 16, "steps": 60, "save_every": 100},
        learning_rate=1e-2,
        dropout=0.0,
    )
    before = trainer.measure()
    trainer.train()
    assert before["pairs"] == 30 and trainer.results["spearman"] > max(before["spearman"], 0.8)
    assert json.loads((tmp_path / "similarity.json").read_text()) == trainer.results
    loaded = tfalign.load(tmp_path / "models" / "similarity")
    for saved, trained in zip(
        loaded.model.get_weights(), trainer.model.backbone.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(saved, trained)


def test_the_correlation_by_hand(encoder):
    """Three pairs: the same sentence twice has cosine 1, the highest; of the other two the scores say which
    is closer, so the correlation is 1 or that of ranks (3, 1, 2) with (3, 2, 1), 0.5."""
    rows = [
        {"first": "good film", "second": "good film", "score": 5.0},
        {"first": "good film", "second": "bad film", "score": 2.0},
        {"first": "good film", "second": "he lives", "score": 1.0},
    ]
    trainer = tfalign.SimilarityTrainer(encoder, pairs(12), held_out=rows, **FEW)
    embed = trainer.model

    def embedded(text):
        ids = [trainer.tokenizer.cls_id, *trainer.tokenizer.encode(text), trainer.tokenizer.sep_id]
        return np.asarray(embed(np.array([ids])))[0]

    first, near, far = map(embedded, ("good film", "bad film", "he lives"))
    expected = 1.0 if first @ near > first @ far else 0.5
    assert trainer.measure() == {"spearman": pytest.approx(expected), "pairs": 3}


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_if_it_had_not_been(encoder, resumed):
    def make(run_dir, callbacks):
        return tfalign.SimilarityTrainer(
            encoder, pairs(24), held_out=pairs(9), run_dir=run_dir, callbacks=callbacks, **FEW
        )

    again, whole = resumed(make, cut=3)
    assert again.results == whole.results


def test_mistakes_are_told_and_nothing_is_left(encoder, tmp_path):
    bad = [{"first": "good", "second": "bad", "score": 7.0}]
    with pytest.raises(ValueError, match=r"record 0: a score lies in \[0, 5.0\]. Received: 7.0"):
        tfalign.SimilarityTrainer(encoder, bad * 9, held_out=bad, run_dir=tmp_path / "run", **FEW)
    assert not any(tmp_path.iterdir())
