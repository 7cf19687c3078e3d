"""``experiments.classify`` from JSON lines to a directory that knows its classes."""

import json

import numpy as np
import pytest

from experiments.classify import ClassifyConfig, by_text, main
from tfalign.models import BERT, BERTConfig, from_pretrained
from tfalign.text import train_word_piece


def test_windows_add_up_to_texts():
    log_probs = [np.array([-1.0, -2.0]), np.array([-3.0, -0.5]), np.array([-0.25, -4.0])]
    assert by_text(log_probs, np.array([0, 0, 1])).tolist() == [[-4.0, -2.5], [-0.25, -4.0]]


@pytest.mark.slow
def test_learns_from_windows_which_word_is_in_a_text(tmp_path):
    """The word that decides stands anywhere in 24, and a window holds 6 of them."""
    generator = np.random.default_rng(0)
    texts = []
    for number in range(240):
        words = ["so"] * 24
        words[generator.integers(24)] = "good" if number % 2 else "bad"
        texts.append({"text": " ".join(words), "label": "yes" if number % 2 else "no"})
    tokenizer = train_word_piece([row["text"] for row in texts], 40)
    tokenizer.save(tmp_path / "bert")
    BERT(
        BERTConfig(tokenizer.vocab_size, 32, 1, 2, max_positions=8, initializer_range=0.2)
    ).save_pretrained(tmp_path / "bert")
    lines = [json.dumps(row) for row in texts]
    (tmp_path / "train.jsonl").write_text("\n".join(lines[:200]))
    (tmp_path / "test.jsonl").write_text("\n".join(lines[200:]))
    config = ClassifyConfig(
        run_dir=str(tmp_path / "run"),
        model=str(tmp_path / "bert"),
        data=f"{tmp_path}/train.jsonl::{tmp_path}/test.jsonl",
        length=8,
        windows=4,
        batch_size=32,
        steps=80,
        learning_rate=1e-2,
        dropout=0.0,
    )
    main(config)
    result = json.loads((tmp_path / "run" / "classify.json").read_text())
    assert (result["train"], result["test"], result["classes"]) == (200, 40, 2)
    assert result["most_common_class"] == 0.5
    assert result["accuracy"] > 0.9
    saved = tmp_path / "run" / "models" / "classify"
    assert json.loads((saved / "config.json").read_text())["id2label"] == {"0": "no", "1": "yes"}
    assert from_pretrained(saved).count_params() > 0
