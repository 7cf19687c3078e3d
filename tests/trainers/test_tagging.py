"""``TaggingTrainer``: entities it finds, words beyond the length, runs that go on, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfalign
from tfalign.trainers.tagging import OUTSIDE

FEW = {"length": 8, "batch_size": 8, "steps": 4, "warmup_steps": 1, "log_every": 1, "save_every": 2}


def sentences(count, seed=0):
    """Sentences of five words with a place of one word or of two."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        words, tags = ["he", "lives", "in"], [OUTSIDE] * 3
        place = [["London", "Paris"], ["London"], ["Paris"]][generator.integers(3)]
        words += place
        tags += ["B-place", "I-place"][: len(place)]
        fill = generator.integers(2)
        rows.append({"words": ["the"] * fill + words, "tags": [OUTSIDE] * fill + tags})
    return rows


@pytest.mark.slow
def test_finds_the_entities_it_was_shown(encoder, tmp_path):
    trainer = tfalign.TaggingTrainer(
        encoder,
        sentences(80),
        held_out=sentences(20, seed=1),
        run_dir=tmp_path,
        **FEW | {"batch_size": 16, "steps": 40, "save_every": 100, "length": 12},
        learning_rate=1e-2,
        dropout=0.0,
    )
    assert trainer.tags == ["B-place", "I-place", OUTSIDE]
    trainer.train()
    assert trainer.results["f1"] > 0.9
    assert (trainer.results["present"], trainer.results["test"]) == (20, 20)
    assert json.loads((tmp_path / "tag.json").read_text()) == trainer.results
    config = json.loads((tmp_path / "models" / "tag" / "config.json").read_text())
    assert config["id2label"] == {"0": "B-place", "1": "I-place", "2": OUTSIDE}


def test_scores_by_hand_with_a_model_that_always_says_one_tag(encoder):
    """Every word within the length is a place of its own then: four words fit, of which one is right."""
    held_out = [
        {"words": ["he", "lives", "in", "London", "Paris"], "tags": ["O", "O", "O", "B-place", "O"]}
    ]
    data = sentences(8)
    trainer = tfalign.TaggingTrainer(encoder, data, held_out=held_out, **FEW | {"length": 6})
    head = trainer.model.head.dense
    head.kernel.assign(np.zeros(head.kernel.shape))
    head.bias.assign([1.0, 0.0, 0.0])  # B-place
    results = trainer.measure()
    assert (results["found"], results["right"], results["present"]) == (4, 1, 1)
    assert results["precision"] == 0.25 and results["recall"] == 1.0 and results["f1"] == 0.4


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_if_it_had_not_been(encoder, resumed):
    def make(run_dir, callbacks):
        return tfalign.TaggingTrainer(
            encoder,
            sentences(24),
            held_out=sentences(8),
            run_dir=run_dir,
            callbacks=callbacks,
            **FEW,
        )

    again, whole = resumed(make, cut=3)
    assert again.results == whole.results


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            [{"words": ["a", "b"], "tags": ["O"]}],
            "record 0: every word needs a tag. Received: 2 words",
        ),
        ([{"text": "a"}], "record 0: the field 'words' is missing"),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(encoder, tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        tfalign.TaggingTrainer(encoder, data, run_dir=tmp_path / "run", **FEW)
    assert not any(tmp_path.iterdir())


def test_a_model_that_cannot_be_saved_so_is_refused_before_it_is_trained(start):
    with pytest.raises(ValueError, match="TokenClassifier cannot be written"):
        tfalign.TaggingTrainer(start[0], sentences(20), **FEW)
