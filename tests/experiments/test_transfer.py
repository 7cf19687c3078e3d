"""``experiments.studies.transfer``: a model that knows the task already needs fewer examples than a random one."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from experiments.studies.transfer import (
    ALL,
    ClassesConfig,
    FineTuning,
    PairsConfig,
    TransferConfig,
    main,
    tasks_of,
)
from tfalign.models import BERT, BERTConfig
from tfalign.options import changed
from tfalign.text import train_word_piece
from tfalign.trainers import ClassificationTrainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with texts of two classes, pairs of sentences, and an encoder that can tell the classes."""
    folder = tmp_path_factory.mktemp("transfer")
    generator = np.random.default_rng(0)
    texts, pairs = [], []
    for number in range(200):
        words = ["so"] * 12
        words[generator.integers(12)] = "good" if number % 2 else "bad"
        texts.append({"text": " ".join(words), "label": "yes" if number % 2 else "no"})
        second = "good" if number % 3 else "bad"
        score = 5.0 if words.count(second) else 0.0
        pairs.append({"first": texts[-1]["text"], "second": f"so {second}", "score": score})
    for name, rows in (("texts", texts), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tokenizer = train_word_piece([row["text"] for row in texts], 40)
    tokenizer.save(folder / "bert")
    config = BERTConfig(tokenizer.vocab_size, 32, 1, 2, max_positions=16, initializer_range=0.2)
    BERT(config).save_pretrained(folder / "bert")
    source = f"{folder}/texts.jsonl::{folder}/texts.jsonl"
    training = {"length": 16, "steps": 80, "learning_rate": 1e-2, "dropout": 0.0}
    ClassificationTrainer(folder / "bert", source, run_dir=folder / "run", **training).train()
    return folder


def config_of(folder, run_dir, **choices):
    task = changed(
        ClassesConfig(),
        data=f"{folder}/texts.jsonl::{folder}/texts.jsonl",
        length=16,
        windows=1,
        batch_size=8,
        steps=20,
        learning_rate=2e-3,
        warmup_steps=2,
    )
    return TransferConfig(
        run_dir=str(run_dir),
        models=(f"BERT={folder}/run/models/classify",),
        dropout=0.0,
        classes=task,
        **{"examples": f"24,{ALL}", "seeds": 2} | choices,
    )


@pytest.mark.slow
def test_the_table_shows_what_was_known_before(folder, tmp_path):
    source = f"{folder}/pairs.jsonl::{folder}/pairs.jsonl"
    few = {"length": 16, "batch_size": 8, "steps": 4, "warmup_steps": 1}
    pairs = changed(PairsConfig(), data=source, **few)
    config = config_of(folder, tmp_path, pairs=pairs)
    main(config)
    results = json.loads((tmp_path / "transfer.json").read_text())
    assert len(results) == 2 * 2 * 2 * 2
    few = {
        start: np.mean([results[f"classes/BERT/{start}/24/{seed}"] for seed in range(2)])
        for start in ("pretrained", "from scratch")
    }
    assert few["pretrained"] > 0.9 > few["from scratch"] + 0.1
    table = (tmp_path / "transfer.md").read_text()
    assert "| BERT, from scratch |" in table and "24 examples" in table
    assert (tmp_path / "plots" / "transfer.png").stat().st_size > 10_000
    before = (tmp_path / "transfer.json").stat().st_mtime_ns
    main(config)  # there is nothing left to run
    assert (tmp_path / "transfer.json").stat().st_mtime_ns == before


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("is_pretrained", [True, False])
def test_a_result_follows_from_its_seed(folder, tmp_path, is_pretrained):
    """Whatever ran before, in this process or in another; with dropout."""
    task = tasks_of(config_of(folder, tmp_path))["classes"]

    def trained(fine_tuning):
        fine_tuning(is_pretrained, task.train[:8], seed=0)
        return [np.array(weight) for weight in fine_tuning.model.get_weights()]

    keras.utils.set_random_seed(1)
    one = FineTuning(task, f"{folder}/run/models/classify", dropout=0.5)
    first = trained(one)
    one(not is_pretrained, task.train[8:16], seed=1)
    again = trained(one)
    keras.utils.set_random_seed(2)
    other = trained(FineTuning(task, f"{folder}/run/models/classify", dropout=0.5))
    for weight, same, as_well in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(same, weight)
        np.testing.assert_array_equal(as_well, weight)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"models": ("bert",)}, "NAME=DIRECTORY. Received: 'bert'"),
        ({"models": ("a=b",), "examples": "0"}, "each at least 1, or all. Received: examples=0"),
    ],
)
def test_mistakes_are_told(choice, message):
    with pytest.raises(ValueError, match=message):
        TransferConfig(**choice)


def test_models_and_data_must_be_given():
    with pytest.raises(ValueError, match="--classes.data or --pairs.data, must be given"):
        main(TransferConfig(models=("a=b",)))
