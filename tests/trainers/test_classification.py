"""``ClassificationTrainer``: what it learns, measures and leaves; runs that go on; mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfalign
from tfalign.evaluation.classes import by_text, score_classes

FEW = {"length": 8, "batch_size": 8, "steps": 4, "warmup_steps": 1, "log_every": 1, "save_every": 2}


def texts(count, words=6, seed=0):
    """Texts of which one word, anywhere, decides the class."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        text = ["the"] * words
        text[generator.integers(words)] = "good" if number % 2 else "bad"
        rows.append({"text": " ".join(text), "label": "yes" if number % 2 else "no"})
    return rows


def test_windows_add_up_to_texts():
    log_probs = [np.array([-1.0, -2.0]), np.array([-3.0, -0.5]), np.array([-0.25, -4.0])]
    assert by_text(log_probs, np.array([0, 0, 1])).tolist() == [[-4.0, -2.5], [-0.25, -4.0]]


def test_accuracy_is_of_texts_with_wilsons_interval():
    """Three of four texts are right, the first by its second window: Wilson's interval is
    (0.75 + 1.92/4 -+ 1.96 sqrt(0.1875/4 + 0.96/16)) / (1 + 3.84/4)."""
    log_probs = [[-0.5, -1.0], [-3.0, -0.1], [-0.1, -3.0], [-0.1, -3.0], [-0.1, -3.0]]
    scores = score_classes(log_probs, np.array([0, 0, 1, 2, 3]), np.array([1, 1, 0, 0, 1]))
    assert scores.texts == 4 and scores.accuracy.value == 0.75
    assert scores.accuracy.low == pytest.approx(0.3006, abs=1e-4)
    assert scores.accuracy.high == pytest.approx(0.9544, abs=1e-4)


@pytest.mark.slow
def test_learns_from_windows_which_word_is_in_a_text(encoder, tmp_path):
    """The word that decides stands anywhere in 16, and a window holds 6 of them."""
    trainer = tfalign.ClassificationTrainer(
        encoder,
        texts(160, words=16),
        held_out=texts(40, words=16, seed=1),
        run_dir=tmp_path,
        **FEW | {"windows": 3, "batch_size": 32, "steps": 80, "save_every": 100},
        learning_rate=1e-2,
        dropout=0.0,
    )
    assert trainer.measure()["accuracy"] < 0.8
    trainer.train()
    results = trainer.results
    assert (results["train"], results["test"], results["classes"]) == (160, 40, 2)
    assert results["most_common_class"] == 0.5 and results["accuracy"] > 0.9
    assert json.loads((tmp_path / "classify.json").read_text()) == results
    saved = tmp_path / "models" / "classify"
    assert json.loads((saved / "config.json").read_text())["id2label"] == {"0": "no", "1": "yes"}
    loaded = tfalign.load(saved)
    ids = [loaded.tokenizer.encode("the good film")]
    np.testing.assert_allclose(loaded.model(np.array(ids)), trainer.model(np.array(ids)), atol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_if_it_had_not_been(encoder, resumed):
    def make(run_dir, callbacks):
        return tfalign.ClassificationTrainer(
            encoder, texts(40), run_dir=run_dir, callbacks=callbacks, eval_every=1, **FEW
        )

    again, whole = resumed(make, cut=3)
    assert again.results == whole.results and whole.results["test"] > 0


@pytest.mark.slow
def test_a_loaded_encoder_is_copied_and_keeps_its_dropout(encoder):
    model = tfalign.load(encoder, dropout=0.0)
    before = model.model.get_weights()
    data = texts(20)
    trainer = tfalign.ClassificationTrainer(model, data, held_out=data[:8], **FEW)
    assert trainer.model.backbone.config.dropout == 0.0
    trainer.train()
    for old, now in zip(before, model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    assert tfalign.ClassificationTrainer(encoder, data, **FEW).model.dropout == 0.1


@pytest.mark.slow
def test_adapters_are_left_beside_the_model(encoder, tmp_path):
    given = {"held_out": texts(8), "run_dir": tmp_path, "lora.rank": 2}
    tfalign.ClassificationTrainer(encoder, texts(20), **given, **FEW).train()
    assert (tmp_path / "models" / "classify_adapters" / "adapter_config.json").exists()
    assert tfalign.load(tmp_path / "models" / "classify").model.num_classes == 2


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ([{"text": "the"}], {}, "record 0: the field 'label' is missing"),
        ("embedded", {}, 'there is no "embedded" ClassRecord'),
        (texts(8), {"held_out": [{"text": "the", "label": "maybe"}]}, "one of no, yes. Received"),
        (texts(8), {"windows": 0}, "--windows must be at least 1. Received: windows=0"),
        (texts(4), {"held_out": texts(4)}, "4 examples do not fill a batch"),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(encoder, tmp_path, data, settings, message):
    with pytest.raises(ValueError, match=message):
        tfalign.ClassificationTrainer(encoder, data, run_dir=tmp_path / "run", **FEW | settings)
    assert not any(tmp_path.iterdir())


def test_another_dropout_than_a_loaded_models_is_refused(encoder):
    model = tfalign.load(encoder, dropout=0.0)
    with pytest.raises(ValueError, match="must have dropout=0.3; load it with that. Received"):
        tfalign.ClassificationTrainer(model, texts(20), dropout=0.3, **FEW)
